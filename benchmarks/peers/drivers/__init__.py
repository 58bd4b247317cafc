"""One small script per peer. Each runs in the peer's own environment and imports nothing of this project's."""
