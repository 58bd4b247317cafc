"""How fast and how large the page and its API are: searches over HTTP on many rows."""
