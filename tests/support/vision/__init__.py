"""Tiny checkpoints with eyes: real architectures and processors, random weights, made on the spot."""
