"""The page that `evaluate --report` writes: one file, no script, nothing fetched."""
