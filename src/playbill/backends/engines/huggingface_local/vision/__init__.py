"""Models with eyes: their features computed once, and their tokens one dialogue at a time."""
