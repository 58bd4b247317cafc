"""Fine-tuning and training of CLIP models on one's own captioned or labelled images: `python -m pipelines train`."""
