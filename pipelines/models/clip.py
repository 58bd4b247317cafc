"""A loaded CLIP: pictures and texts to embeddings, by PyTorch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError
from ..towhee_compat import import_clip
from .download import sha256_of
from .registry import ModelSpec, get_model
from .tokenizer import tokenize
from .weights import load_state_dict, locate

if TYPE_CHECKING:
    import torch


@lru_cache(maxsize=4)
def load_model(name: str, weights: str = "", device: str = "auto") -> ClipModel:
    """Loads a model once per process; the picture and the text operator share it.

    Raises:
        InputError: unknown name.
        ModelError: the weights are missing, damaged or of another model, or there is no such device.
    """
    return ClipModel(get_model(name), weights, device)


class ClipModel:
    """Both towers of a CLIP on one device. Thread-safe: one model call at a time.

    On CPUs with bf16 matrix instructions (AMX, AVX512-BF16) and on GPUs the towers run in half precision;
    embeddings agree with fp32 at a cosine above 0.999.
    """

    def __init__(self, spec: ModelSpec, weights: str = "", device: str = "auto") -> None:
        import torch

        self.spec = spec
        path = locate(spec, weights)
        # Rows of a collection carry this: embeddings of other weights are not comparable.
        self.tag = f"{spec.name}@{sha256_of(path)[:12]}"
        self.device = _choose_device(device)
        self.dtype = _fast_dtype(self.device)
        self._network = build_network(spec, path).to(self.device)
        self._lock = threading.Lock()
        self._mean = torch.tensor(spec.mean, device=self.device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(spec.std, device=self.device).view(1, 3, 1, 1) * 255

    @property
    def default_batch_size(self) -> int:
        """Pictures per call at which this kind of device is fast and its memory safe."""
        return 256 if self.device.startswith("cuda") else 64

    def embed_images(self, pictures: np.ndarray) -> np.ndarray:
        """uint8[n, size, size, 3] RGB → float32[n, dim], not normalised."""
        import torch

        with self._lock, torch.inference_mode(), self._autocast():
            pixels = torch.from_numpy(pictures).to(self.device).permute(0, 3, 1, 2)
            features = self._network.visual((pixels.float() - self._mean) / self._std)
        return features.float().cpu().numpy()

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """n texts → float32[n, dim], not normalised. A text beyond 77 tokens is cut."""
        import torch

        if not texts:
            return np.empty((0, self.spec.dim), np.float32)
        tokens = tokenize(texts, self.spec.architecture.context_length)
        with self._lock, torch.inference_mode(), self._autocast():
            features = encode_text(self._network, torch.from_numpy(tokens).to(self.device))
        return features.float().cpu().numpy()

    def _autocast(self) -> Any:
        import torch

        return torch.autocast(torch.device(self.device).type, self.dtype, enabled=self.dtype is not torch.float32)


def build_network(spec: ModelSpec, weights_path: Path) -> Any:
    """A `towhee.models.clip.CLIP` of the registry's sizes (Towhee's own table has several wrong), with its weights.

    Raises:
        ModelError: the file's tensors are not this model's.
    """
    import torch

    # On the meta device nothing is allocated or initialised twice: building takes milliseconds, not seconds.
    with torch.device("meta"):
        network = import_clip().CLIP(**asdict(spec.architecture))
    state = load_state_dict(weights_path)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    wrong = [name for name, shape in expected.items() if name not in state or tuple(state[name].shape) != shape]
    wrong = [name for name in wrong if not name.endswith("num_batches_tracked")]
    if wrong:
        raise ModelError(
            f"{weights_path} does not hold {spec.name}: {len(wrong)} tensors are missing or of another size, "
            f"'{wrong[0]}' first"
        )
    network.load_state_dict({name: state[name] for name in expected if name in state}, strict=False, assign=True)
    _materialise_buffers(network)
    return network.eval().requires_grad_(False)


def _materialise_buffers(network: Any) -> None:
    """What is in no weights file: the causal mask, a plain attribute, and batch-norm counters."""
    import torch

    mask = torch.full((network.context_length, network.context_length), float("-inf")).triu_(1)
    for block in network.transformer.resblocks:
        block.attn_mask = mask
    for module in network.modules():
        counter = getattr(module, "num_batches_tracked", None)
        if counter is not None and counter.is_meta:
            module.num_batches_tracked = torch.zeros((), dtype=torch.long)


def encode_text(network: Any, tokens: torch.Tensor) -> torch.Tensor:
    """int64[n, context] → [n, dim], running only the positions up to the last end-of-text token.

    Exact: attention is causal and the embedding is read at the end-of-text token, which has the highest id
    (`encode_text` of clip/model.py, github.com/openai/CLIP), so later positions cannot matter.
    """
    import torch

    ends = tokens.argmax(dim=-1)
    length = int(ends.max()) + 1
    x = network.token_embedding(tokens[:, :length]) + network.positional_embedding[:length]
    x = x.permute(1, 0, 2)
    mask = network.transformer.resblocks[0].attn_mask[:length, :length].to(x)
    for block in network.transformer.resblocks:
        normed = block.ln_1(x)
        x = x + block.attn(normed, normed, normed, need_weights=False, attn_mask=mask.to(normed.dtype))[0]
        x = x + block.mlp(block.ln_2(x))
    x = network.ln_final(x.permute(1, 0, 2))
    return x[torch.arange(len(x)), ends] @ network.text_projection


def _choose_device(device: str) -> str:
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"no device '{device}' here: {str(error).splitlines()[0]}") from error
    return device


def _fast_dtype(device: str) -> torch.dtype:
    import torch

    if device.startswith("cuda"):
        return torch.float16
    if device == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        return torch.bfloat16
    return torch.float32
