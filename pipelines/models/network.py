"""A `towhee.models.clip.CLIP` of the registry's sizes, with the weights of a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..towhee_compat import import_clip
from .layouts import guess_model
from .registry import ModelSpec
from .weights import load_state_dict


def build_network(spec: ModelSpec, weights_path: Path) -> Any:
    """The network in float32 on the CPU (Towhee's own table has several sizes wrong).

    Raises:
        ModelError: the file's tensors are not this model's; the message says whose they seem to be.
    """
    network = empty_network(spec)
    state = load_state_dict(weights_path)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    wrong = [name for name, shape in expected.items() if name not in state or tuple(state[name].shape) != shape]
    wrong = [name for name in wrong if not name.endswith("num_batches_tracked")]
    if wrong:
        raise ModelError(
            f"{weights_path} does not hold {spec.name}: {len(wrong)} tensors are missing or of another size, "
            f"'{wrong[0]}' first; {guess_model(state)}"
        )
    network.load_state_dict({name: state[name] for name in expected if name in state}, strict=False, assign=True)
    return network.eval().requires_grad_(False)


def empty_network(spec: ModelSpec) -> Any:
    """The network before its weights: allocated, but not filled with random numbers, which takes seconds."""
    with _no_random_numbers():
        network = import_clip().CLIP(**asdict(spec.architecture))
    set_activation(network, spec.activation)
    return network.eval().requires_grad_(False)


def set_activation(network: Any, activation: str) -> None:
    """Towhee's blocks have QuickGELU; 'gelu' puts the exact one in its place."""
    from torch import nn

    if activation == "gelu":
        for module in network.modules():
            if hasattr(module, "gelu"):
                module.gelu = nn.GELU()


def _no_random_numbers() -> Any:
    """A context in which torch leaves memory as it is where it would draw random numbers."""
    import torch
    from torch.overrides import TorchFunctionMode

    class NoRandomNumbers(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.randn:
                func = torch.empty
            if getattr(func, "__name__", "") in ("normal_", "uniform_"):
                return args[0] if args else kwargs["tensor"]
            return func(*args, **(kwargs or {}))

    return NoRandomNumbers()
