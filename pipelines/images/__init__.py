"""From the bytes of an image to pixels, and to a model's input."""
