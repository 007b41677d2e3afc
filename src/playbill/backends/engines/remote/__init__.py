"""Requests to services: how they are sent, how many at once, and what happens when they fail.

`engine` is the engine; each module of `wires` writes and reads one API's bodies.
"""
