"""Public failures of this kind of software, one small file each, and the test that runs them."""
