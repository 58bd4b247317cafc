"""The staged recipe that made the shipped `builtin` weights: `python -m recipes.builtin`."""
