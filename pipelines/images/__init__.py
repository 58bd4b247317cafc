"""Turn the bytes of an image into pixels, and into a model's input."""
