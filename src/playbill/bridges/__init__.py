"""Bridges: other harnesses play with Playbill's models. One folder for each; importing this loads none of them."""
