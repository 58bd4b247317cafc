"""The staged recipe of the shipped `builtin` weights: `python -m recipes.builtin`."""
