"""The same work by other projects' code paths: `make bench-peers`."""
