"""What a run reads: files of dialogues, in the shapes that people have."""
