"""One optimiser step of a CLIP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.models.networks import build_network
from pipelines.models.registry import get_model
from pipelines.training.data_loader import Batch
from pipelines.training.model import MAX_LOGIT_SCALE
from pipelines.training.options import TrainOptions
from pipelines.training.trainer import Trainer, rate_at

pytestmark = pytest.mark.usefixtures("one_thread")


def _trainer(tiny: Path, batch: int, accumulate: int, **changes: object) -> Trainer:
    spec = get_model(str(tiny))
    wanted = TrainOptions("", "", "m", batch=batch, accumulate=accumulate, lr=1e-3, **changes)  # type: ignore[arg-type]
    trainer = Trainer(build_network(spec, tiny / "model.safetensors"), spec, wanted.resolved(), "cpu", torch.float32)
    trainer.begin_epoch(0)
    return trainer


def _batch(count: int) -> Batch:
    random = np.random.default_rng(1)
    tokens = np.zeros((count, 6), np.int64)
    tokens[:, 0], tokens[:, 1:4], tokens[:, 4] = 49406, random.integers(300, 9000, (count, 3)), 49407
    pixels = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Batch(pixels, tokens, np.eye(count, dtype=bool))


def test_accumulation_gives_the_gradient_of_the_whole_batch(tiny: Path) -> None:
    gradients = []
    for size, parts in ((8, 1), (2, 4)):
        trainer = _trainer(tiny, size, parts)
        loss = trainer._backward(_batch(8))
        gradients.append((loss, {n: p.grad for n, p in trainer.network.named_parameters()}))
    (loss, whole), (again, cached) = gradients
    assert loss == pytest.approx(again, rel=1e-5)
    for name, gradient in whole.items():
        assert gradient is not None
        scale = max(1e-6, float(gradient.abs().max()))
        assert torch.allclose(gradient, cached[name], atol=2e-3 * scale), name


def test_the_temperature_is_clamped_and_gains_do_not_decay(tiny: Path) -> None:
    trainer = _trainer(tiny, 8, 1)
    trainer.network.logit_scale.data.fill_(9.0)
    trainer.step(_batch(8), 1e-4)
    assert trainer.network.logit_scale.item() <= MAX_LOGIT_SCALE + 1e-6
    decayed, kept = trainer.optimiser.param_groups
    assert decayed["weight_decay"] == 0.1
    assert kept["weight_decay"] == 0
    assert all(parameter.dim() >= 2 for parameter in decayed["params"])
    assert any(parameter is trainer.network.ln_final.weight for parameter in kept["params"])


def test_rate_rises_and_falls() -> None:
    rates = [rate_at(step, 100, 10, 1.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] < 0.001
