"""The fixture with transformers' own renderer."""

from support.parity import theirs

__all__ = ["theirs"]
