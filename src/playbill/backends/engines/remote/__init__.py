"""The one discipline for all services: how requests are sent, how many at once, and what happens when they fail.

`engine` is the Engine; a wire (in `wires`) writes bodies and reads answers. Knows no service and no wire.
"""
