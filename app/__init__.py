"""The search page: `python -m app`. Thin: it asks `pipelines.Searcher` and shows what comes back."""
