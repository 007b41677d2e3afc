"""Playbill as an OpenAI-compatible server, for other programs. Importing this package loads no web server."""
