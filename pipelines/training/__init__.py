"""Fine-tuning and training of CLIP models on one's own captioned or labelled pictures: `python -m pipelines train`."""
