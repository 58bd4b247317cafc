"""The HTTP API, in the page's process: `/api/search`, `/api/similar/{id}`, `/api/info`, `/api/facets`, metrics."""
