"""Other harnesses, playing with Playbill's models. One folder per harness; importing this loads none of them."""
