"""The speed and memory of the page and its API: searches over HTTP on many rows."""
