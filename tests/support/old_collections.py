"""Collections that earlier versions made (`collections/`), and the random ViT-B/32 behind two of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[1] / "collections"
# The rows hold absolute paths, so the images must be at this path again.
WRITTEN_AT = Path("/tmp/image-search-collections-0.1")
WIDTH, TEXT_WIDTH, LAYERS, DIM = 768, 512, 12, 512


def write_random_vit(path: Path) -> Path:
    """Write float16 safetensors of 303 MB with OpenAI's tensor names; return the path.

    The format is written by hand, and the numbers come from the raw stream of PCG64, which NumPy guarantees, because
    the model id of a collection holds the SHA-256 of this file.
    """
    shapes = dict(sorted(_shapes().items()))
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    stream = np.random.PCG64(20260)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            file.write(_values(stream, name, shape).tobytes())
    return path


def _values(stream: np.random.PCG64, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return uniform numbers that keep activations from growing or vanishing; norm scales are 1, biases 0."""
    if name.endswith("bias"):
        return np.zeros(shape, np.float16)
    if "ln_" in name:
        return np.ones(shape, np.float16)
    if name == "logit_scale":
        return np.full(shape, 4.6, np.float16)
    count = math.prod(shape)
    raw = stream.random_raw((count + 7) // 8).view(np.int8)[:count]
    spread = 2.0**-11 if "embedding" in name or name == "visual.proj" else 2.0**-12
    return (raw.astype(np.float32) * spread).astype(np.float16).reshape(shape)


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "positional_embedding": (77, TEXT_WIDTH),
        "text_projection": (TEXT_WIDTH, DIM),
        "token_embedding.weight": (49408, TEXT_WIDTH),
        "visual.class_embedding": (WIDTH,),
        "visual.conv1.weight": (WIDTH, 3, 32, 32),
        "visual.positional_embedding": (50, WIDTH),
        "visual.proj": (WIDTH, DIM),
    }
    for prefix, width in (("visual.ln_pre", WIDTH), ("visual.ln_post", WIDTH), ("ln_final", TEXT_WIDTH)):
        shapes |= {f"{prefix}.weight": (width,), f"{prefix}.bias": (width,)}
    for tower, width in (("visual.", WIDTH), ("", TEXT_WIDTH)):
        for layer in range(LAYERS):
            block = f"{tower}transformer.resblocks.{layer}."
            shapes |= {
                f"{block}attn.in_proj_weight": (3 * width, width),
                f"{block}attn.in_proj_bias": (3 * width,),
                f"{block}attn.out_proj.weight": (width, width),
                f"{block}attn.out_proj.bias": (width,),
                f"{block}mlp.c_fc.weight": (4 * width, width),
                f"{block}mlp.c_fc.bias": (4 * width,),
                f"{block}mlp.c_proj.weight": (width, 4 * width),
                f"{block}mlp.c_proj.bias": (width,),
            }
            for norm in ("ln_1", "ln_2"):
                shapes |= {f"{block}{norm}.weight": (width,), f"{block}{norm}.bias": (width,)}
    return shapes
