"""Sessions on a Ray cluster, run by the tests of replicas in an environment that has Ray; a function for each kind.

``python -m support.ray_sessions KIND JSON`` prints what happened as JSON on its last line. No test itself.
"""
