"""The search page and the HTTP API, served by `image-search serve`. The searching is in `pipelines`."""
