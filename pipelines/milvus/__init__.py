"""Everything that speaks to Milvus: opening one, the collection's schema, its index, reading and writing it."""
