"""Fine-tune CLIP models on captioned or labelled images, or train small ones: `image-search train`."""
