"""Where a model's files come from: the hub, the package index, a path; and the cache."""
