"""Prompts: the texts that describe a class, combined into one embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError

DEFAULT = ("a photo of a {}",)
# The 80 templates of the ImageNet ensemble, in their order, one per line. Source: `imagenet_templates` in
# notebooks/Prompt_Engineering_for_ImageNet.ipynb of github.com/openai/CLIP (MIT licence).
OPENAI_FILE = Path(__file__).with_name("openai_templates.txt")

EmbedTexts = Callable[[Sequence[str]], np.ndarray]


def read_templates(value: str) -> tuple[str, ...]:
    """Return the templates of `--templates`: '' (the default), 'openai', one template, or a file with one per line.

    Raises:
        InputError: there is no such file, or a template does not hold {} exactly once.
    """
    if not value:
        return DEFAULT
    if "{}" in value:
        templates: tuple[str, ...] = (value,)
    else:
        path = OPENAI_FILE if value == "openai" else Path(value).expanduser()
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise InputError(
                f"--templates {value}: {reason}; give 'openai', a text with {{}}, or a file of such texts"
            ) from error
        templates = tuple(line.strip() for line in lines if line.strip())
    wrong = next((template for template in templates if template.count("{}") != 1), None)
    if wrong is not None or not templates:
        raise InputError(f"--templates: '{wrong or value}' must hold {{}} once, where the class name goes")
    return templates


def humanize(label: str) -> str:
    """Return a label as words: `brain_coral` → 'brain coral'."""
    return " ".join(label.replace("_", " ").split()) or label


def embed_class(name: str, templates: Sequence[str], embed_texts: EmbedTexts) -> np.ndarray:
    """Return one embedding for a class, float32[dim] of unit length: the mean of its templates' unit embeddings.

    Source: `zeroshot_classifier` in the notebook named above. One template gives that template's embedding.
    """
    embeddings = unit(embed_texts([template.replace("{}", name) for template in templates]))
    mean: np.ndarray = unit(embeddings.mean(axis=0, keepdims=True))[0]
    return mean


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale float32[n, dim] to unit length; a zero vector stays zero."""
    vectors = np.asarray(vectors, np.float32)
    lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled
