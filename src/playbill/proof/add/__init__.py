"""New entries: derived from a source, imported from another registry, inserted into a file."""
