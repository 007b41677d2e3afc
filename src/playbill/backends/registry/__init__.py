"""What a user writes: entries, their table of keys, their files, and how a name finds one."""
