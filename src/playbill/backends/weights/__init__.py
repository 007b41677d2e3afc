"""Where files of models come from: the hub, the package index, a path; and the cache that keeps them."""
