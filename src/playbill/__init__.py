"""Playbill: who plays. A model registry and backend layer for evaluating chat language models.

Importing this package loads nothing heavy: no engine, no SDK, not even the registry.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
