"""From a file to a model's input: decoding, resizing, cropping."""
