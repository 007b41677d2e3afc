"""clembench's games, through clemcore, with Playbill's models.

clemcore pins versions that Playbill's backends can't share, so it stays in an environment of its own, and the two talk
over the loopback. What runs over there is in ``side``: it knows clemcore and the standard library, and no Playbill.
"""
