"""How good is a collection's search? Retrieval figures by labels and captions, and what the index itself loses."""
