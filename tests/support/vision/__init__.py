"""Tiny vision checkpoints: real architectures and processors, random weights, made on the spot."""
