"""CLIP: which models there are, where their weights come from, and how they run."""
