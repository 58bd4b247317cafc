"""Milvus: connections, Milvus Lite files, collections with their schema and index, filters, and copies."""
