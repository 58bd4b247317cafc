"""Small models with random weights, and texts as people, pages and programs write them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pipelines.models
from pipelines.models.architecture import Architecture
from pipelines.models.model_folder import CARD_FILE, WEIGHTS_FILE
from pipelines.models.registry import BUILTIN
from pipelines.models.spec import ModelSpec, Weights, card_values
from pipelines.towhee_compat import import_clip
from tests.support.images import photograph

VIT = Architecture(
    embed_dim=16, image_resolution=32, vision_layers=2, vision_width=64, vision_patch_size=8,
    transformer_width=64, transformer_heads=1, transformer_layers=2, context_length=20,
)  # fmt: skip
RESNET = dataclasses.replace(VIT, vision_layers=(1, 1, 1, 1), vision_width=16, vision_patch_size=None)
IMAGES = np.stack([np.array(photograph(32, 32, seed)) for seed in range(3)])
TEXTS = ["a dog", "", "two red cats on a green sofa, photographed from above " * 3]


def spec_of(architecture: Architecture, **changes: Any) -> ModelSpec:
    """Return a model of these sizes that is not in the registry."""
    return dataclasses.replace(BUILTIN, name="tiny", architecture=architecture, weights=Weights("tiny.pt"), **changes)


def random_network(architecture: Architecture, seed: int = 3) -> torch.nn.Module:
    """Return Towhee's own network with random weights that tell images apart and fit fp16."""
    torch.manual_seed(seed)
    network = import_clip().CLIP(**architecture.values()).eval()
    for name, tensor in network.state_dict().items():
        if tensor.dim() == 4 or "bn3.weight" in name or "running_mean" in name:  # otherwise all images look alike
            torch.nn.init.normal_(tensor, std=0.2)
    network.load_state_dict({name: tensor.half().float() for name, tensor in network.state_dict().items()})
    return network


def save(network: torch.nn.Module, path: Path) -> str:
    """Write the weights of a network as safetensors; return the path."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return str(path)


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the cosine of each row with the same row of the other array."""
    return (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)


def odd_texts(count: int) -> list[str]:
    """Return texts of every kind: scripts, emoji, control characters, HTML entities, mojibake, empty, very long."""
    fixed = [
        "", " ", "\n", "a" * 1000, "dog " * 75, "dog " * 76, "dog " * 500, "!" * 200, "don't we'll I'M",
        "&amp;amp; &eacute; &#128512;", "&amp;lt;b&amp;gt; &nbsp; &copy;2024", "â€œmojibakeâ€\x9d", "猫" * 300,
        "A Photo OF a   DOG", "é", "e\u0301", "\U0010ffff", "it's 5 o'clock", "café № ½ ﬁ", "\x00\x07\x1b[31m red",
    ]  # fmt: skip
    alphabets = [
        "abc xyz'’-", "äßéñÅ ", "猫在沙发上。", "ねこ カワイイ", "кошка ", "😀👨‍👩‍👧🏽🇩🇪", "\t\n\r\0\x07\x1b\x7f",
        "0123456789.,%€$", "&amp;&lt;b&gt; ", "\u200b\ufeff\u2028 ", "ﬁ½①ℌ",
    ]  # fmt: skip
    chance = random.Random(5)
    made = [
        "".join(chance.choices("".join(chance.sample(alphabets, 3)), k=chance.randint(1, 60)))
        for _ in range(count - len(fixed))
    ]
    return fixed + made


def write_turned_builtin(folder: Path, turns: int = 1) -> str:
    """Write a model folder of `builtin` with the numbers of its embeddings rotated by `turns` places; return its path.

    Its embeddings have as many dimensions as those of `builtin`, and the cosine between the two models means nothing.
    """
    from safetensors.numpy import load_file, save_file

    tensors = load_file(Path(pipelines.models.__file__).with_name("builtin.safetensors"))
    for name, tensor in tensors.items():
        if name.startswith("text_projection"):
            tensors[name] = np.ascontiguousarray(np.roll(tensor, turns, axis=-1))
        elif name.startswith("visual.attnpool.c_proj"):
            tensors[name] = np.ascontiguousarray(np.roll(tensor, turns, axis=0))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS_FILE)
    sha256 = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    card = {**card_values(BUILTIN), "sha256": sha256, "licence": BUILTIN.licence, "base": "builtin"}
    (folder / CARD_FILE).write_text(json.dumps(card))
    return str(folder)


def write_model_folder(folder: Path, spec: ModelSpec, network: torch.nn.Module) -> str:
    """Write a model folder as `train` does; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = Path(save(network, folder / WEIGHTS_FILE))
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / CARD_FILE).write_text(json.dumps({**card_values(spec), "sha256": sha256, "licence": "none"}))
    return str(folder)
