"""The table of keys that a registry entry may have, by subject."""
