"""Measure the search of a collection: retrieval figures by labels and captions, and the loss of the index."""
