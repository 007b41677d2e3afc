"""Playbill: who plays. A model registry and backend layer for evaluating chat language models.

Importing this package loads nothing heavy: no engine, no SDK, not even the registry.
"""

from importlib.metadata import version

__version__ = version("playbill")
__all__ = ["__version__"]
