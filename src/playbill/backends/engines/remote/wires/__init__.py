"""The ways that services speak: one module for each API."""
