"""Keep registry files: compare two of them in words, and write one in its plainest form. Judges no entry."""
