"""Measure how fast a local model answers, beside other ways to run it on the same machine."""
