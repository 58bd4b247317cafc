"""The search page and the HTTP API, served by `image-search serve`. The search itself is in `pipelines`."""
