"""Recipes: how the files that ship with this repository were made. Not installed."""
