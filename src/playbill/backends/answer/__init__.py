"""From token ids to the answer: cleaning, thinking, special tokens."""
