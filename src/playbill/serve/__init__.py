"""Playbill as a server: for other programs, and, in ``mock``, for rehearsals and tests.

Importing this package loads no web server.
"""
