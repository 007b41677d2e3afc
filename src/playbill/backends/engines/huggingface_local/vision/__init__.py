"""Vision models: what their language part is given for a prompt, and how each picture is encoded once."""
