"""Search: a query's parts become one embedding, and Milvus's nearest rows become a page of hits."""
