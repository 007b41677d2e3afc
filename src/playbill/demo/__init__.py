"""The dialogues of `make demo`, in the manner of dialogue games. Data only."""
