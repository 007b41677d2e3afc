"""Batch-invariant batching: many rows at once, each with the bits that it gets alone."""
