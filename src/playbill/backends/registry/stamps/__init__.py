"""Stamps: what was proven of an entry, how deep and with what. Reads and compares them; proves nothing."""
