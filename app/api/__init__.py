"""The HTTP API: `/api/search`, `/api/similar/{id}`, `/api/info`, `/api/facets` and metrics, in the page's process."""
