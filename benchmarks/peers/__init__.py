"""The same work through other projects' code paths: `make bench-peers`."""
