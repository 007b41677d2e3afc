"""The wires: one module for each API."""
