"""What runs in clemcore's environment, where Playbill need not be installed."""
