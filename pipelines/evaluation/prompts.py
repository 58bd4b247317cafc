"""From a class name to the texts that ask for it, and their one embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError

DEFAULT = ("a photo of a {}",)

# The 80 templates of the ImageNet ensemble, in their order. Source: `imagenet_templates` in
# notebooks/Prompt_Engineering_for_ImageNet.ipynb of github.com/openai/CLIP (MIT licence).
OPENAI = tuple(
    """\
a bad photo of a {}.|a photo of many {}.|a sculpture of a {}.|a photo of the hard to see {}.
a low resolution photo of the {}.|a rendering of a {}.|graffiti of a {}.|a bad photo of the {}.
a cropped photo of the {}.|a tattoo of a {}.|the embroidered {}.|a photo of a hard to see {}.
a bright photo of a {}.|a photo of a clean {}.|a photo of a dirty {}.|a dark photo of the {}.
a drawing of a {}.|a photo of my {}.|the plastic {}.|a photo of the cool {}.
a close-up photo of a {}.|a black and white photo of the {}.|a painting of the {}.|a painting of a {}.
a pixelated photo of the {}.|a sculpture of the {}.|a bright photo of the {}.|a cropped photo of a {}.
a plastic {}.|a photo of the dirty {}.|a jpeg corrupted photo of a {}.|a blurry photo of the {}.
a photo of the {}.|a good photo of the {}.|a rendering of the {}.|a {} in a video game.
a photo of one {}.|a doodle of a {}.|a close-up photo of the {}.|a photo of a {}.
the origami {}.|the {} in a video game.|a sketch of a {}.|a doodle of the {}.
a origami {}.|a low resolution photo of a {}.|the toy {}.|a rendition of the {}.
a photo of the clean {}.|a photo of a large {}.|a rendition of a {}.|a photo of a nice {}.
a photo of a weird {}.|a blurry photo of a {}.|a cartoon {}.|art of a {}.
a sketch of the {}.|a embroidered {}.|a pixelated photo of a {}.|itap of the {}.
a jpeg corrupted photo of the {}.|a good photo of a {}.|a plushie {}.|a photo of the nice {}.
a photo of the small {}.|a photo of the weird {}.|the cartoon {}.|art of the {}.
a drawing of the {}.|a photo of the large {}.|a black and white photo of a {}.|the plushie {}.
a dark photo of a {}.|itap of a {}.|graffiti of the {}.|a toy {}.
itap of my {}.|a photo of a cool {}.|a photo of a small {}.|a tattoo of the {}.""".replace("\n", "|").split("|")
)

EmbedTexts = Callable[[Sequence[str]], np.ndarray]


def read_templates(wanted: str) -> tuple[str, ...]:
    """The templates that `--templates` names: '' (the default), 'openai', one template, or a file with one a line.

    Raises:
        InputError: no such file, or a template without exactly one {}.
    """
    if not wanted:
        return DEFAULT
    if wanted == "openai":
        return OPENAI
    if "{}" in wanted:
        templates: tuple[str, ...] = (wanted,)
    else:
        try:
            lines = Path(wanted).expanduser().read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise InputError(
                f"--templates {wanted}: {reason}; give 'openai', a text with {{}}, or a file of such texts"
            ) from error
        templates = tuple(line.strip() for line in lines if line.strip())
    wrong = next((template for template in templates if template.count("{}") != 1), None)
    if wrong is not None or not templates:
        raise InputError(f"--templates: '{wrong or wanted}' must hold {{}} once, where the class name goes")
    return templates


def spoken(label: str) -> str:
    """A label as words: `brain_coral` → 'brain coral'."""
    return " ".join(label.replace("_", " ").split()) or label


def embed_class(name: str, templates: Sequence[str], embed_texts: EmbedTexts) -> np.ndarray:
    """One embedding for a class, float32[dim] of unit length: the mean of its templates' unit embeddings.

    Source: `zeroshot_classifier` in the notebook named above; with one template it is that template's embedding.
    """
    embeddings = unit(embed_texts([template.replace("{}", name) for template in templates]))
    return unit(embeddings.mean(axis=0, keepdims=True))[0]


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32[n, dim] at unit length; a zero vector stays zero."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
