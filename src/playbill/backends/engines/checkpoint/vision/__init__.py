"""A vision checkpoint: its own processor, which turns a prompt and pictures into ids and features."""
