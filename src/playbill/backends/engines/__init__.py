"""The engines: one module or folder each. `playbill.backends.registry.backends` lists them."""
