"""The same messages given to two renderers, compared token by token."""
