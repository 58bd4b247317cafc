"""CLIP models: the known ones, their weights, and the runtimes that run them."""
