"""Recipes: how files of this repository were made. Not installed."""
