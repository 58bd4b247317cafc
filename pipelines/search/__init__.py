"""Search: turns the parts of a query into one embedding, and the nearest rows in Milvus into a page of hits."""
