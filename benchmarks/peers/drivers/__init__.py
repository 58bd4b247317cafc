"""One small script per peer. Each runs in its peer's environment, where only `this_project` has this project."""
