"""Build the network of a weights file, of any family, and its two towers for the runtimes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from . import bert, pe, siglip, towers
from .blocks import NoRandomNumbers
from .checkpoints import MOST_SHARED, guess_model, load_state_dict
from .spec import ModelSpec
from .weights import fetch_beside


def build_network(spec: ModelSpec, weights_path: Path) -> Any:
    """Build the network in float32 on the CPU. The tensors are checked before the network is allocated.

    Raises:
        ModelError: the tensors belong to another model; the message names it if it is known.
    """
    state = load_state_dict(weights_path)
    beside = fetch_beside(spec, weights_path, spec.weights.beside) if spec.weights.beside else None
    if beside is not None:
        state |= load_state_dict(beside)
    expected = _shapes(spec)
    wrong = [name for name, shape in expected.items() if name not in state or tuple(state[name].shape) != shape]
    wrong = [name for name in wrong if not name.endswith(("num_batches_tracked", "logit_scale"))]
    if wrong:
        raise ModelError(
            f"{weights_path} does not hold {spec.name}: {len(wrong)} tensors are missing or of another size, "
            f"'{wrong[0]}' first; {guess_model(state)}"
        )
    _check_numbers(expected, [weights_path, *([beside] if beside else [])])
    network = empty_network(spec)
    network.load_state_dict({name: state[name] for name in expected if name in state}, strict=False, assign=True)
    return network


def _check_numbers(shapes: Mapping[str, tuple[int, ...]], files: Sequence[Path]) -> None:
    """Reject a network whose tensors are views of a few numbers, by comparing its size with the files' size."""
    numbers, size = sum(map(math.prod, shapes.values())), sum(file.stat().st_size for file in files)
    if numbers > MOST_SHARED * size:
        raise ModelError(
            f"{files[0]} holds no weights that can be read: {size:,} bytes claim to be {numbers:,} numbers"
        )


def _shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    try:
        with torch.device("meta"):
            return {name: tuple(tensor.shape) for name, tensor in empty_network(spec).state_dict().items()}
    except (AssertionError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{spec.name} has sizes of which no network can be made: {reason}") from error


def empty_network(spec: ModelSpec) -> Any:
    """Build the network with uninitialised weights: filling them with random numbers would take seconds."""
    with NoRandomNumbers():
        if spec.family == "text":
            network: Any = nn.Module()
        else:
            makers = {"siglip": siglip.SiglipNetwork, "pe": pe.PeNetwork, "clip": towers.clip_network}
            network = makers[spec.family](spec)
        if spec.text:
            network.bert = bert.BertNetwork(spec.text)
    return network.eval().requires_grad_(False)


def image_tower(network: Any, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return the tower for uint8[n, size, size, 3] RGB → float32[n, dim], not normalised.

    It shares its weights with the network, as the tower of `text_tower` does.
    """
    makers = {"siglip": siglip.SiglipImageTower, "pe": pe.PeImageTower, "clip": towers.clip_image_tower}
    return makers[spec.family](network, spec, dtype)


def text_tower(network: Any, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return the tower for int64[n, length] tokens → float32[n, dim], not normalised."""
    if spec.text:
        return bert.BertTower(network.bert, dtype)
    return (siglip.SiglipTextTower if spec.family == "siglip" else towers.TextTower)(network, dtype)
