"""The training loop of every stage: a budget of minutes, the optimiser, averaged weights, checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipelines.models.pytorch_runtime import fast_dtype
from pipelines.training.trainer import make_optimiser

from . import files
from .sampler import Sampler


def half_precision() -> torch.autocast:
    """Use bf16 if this CPU has instructions for it; without them PyTorch emulates it, many times slower."""
    dtype = fast_dtype("cpu")
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16)


@dataclass(frozen=True)
class StageSettings:
    """The duration and learning rate of a stage."""

    minutes: float
    learning_rate: float
    batch: int = 256
    weight_decay: float = 0.1
    warmup_steps: int = 200
    # The decay of the averaged weights; early steps use a smaller one.
    average_decay: float = 0.998
    max_steps: int = 0
    checkpoint_minutes: float = 3.0


class Average:
    """A running average of a module's weights: steadier than the last step's."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module: Any = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards `module`; faster in early steps, so that the random start is soon forgotten."""
        keep = min(self.decay, (1 + step) / (10 + step))
        pairs = zip(self.module.state_dict().values(), module.state_dict().values(), strict=True)
        floats = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in floats], [theirs for _, theirs in floats], 1 - keep)


class Stage:
    """Minimises a loss until its minutes are used up; resumes from its checkpoint if there is one.

    The learning rate follows a cosine over the *minutes*, not over a number of steps, so that the schedule still ends
    at zero on a machine shared with other work.
    """

    def __init__(self, name: str, module: Any, settings: StageSettings, work_dir: Path) -> None:
        self.name, self.module, self.settings = name, module, settings
        self.checkpoint = work_dir / f"{name}.checkpoint.pt"
        self.optimiser = make_optimiser(module, settings.learning_rate, settings.weight_decay)
        self.average = Average(module, settings.average_decay)
        self.steps = 0
        self.elapsed = 0.0
        if self.checkpoint.exists():
            self._restore()

    def _restore(self) -> None:
        saved = torch.load(self.checkpoint, weights_only=True)
        self.module.load_state_dict(saved["module"])
        self.average.module.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.steps, self.elapsed = saved["steps"], saved["elapsed"]
        torch.set_rng_state(saved["random"])

    def _save(self) -> None:
        saved = {
            "module": self.module.state_dict(),
            "average": self.average.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "elapsed": self.elapsed,
            "random": torch.get_rng_state(),
        }
        files.save(saved, self.checkpoint)

    def share(self) -> float:
        """Return the finished share of the stage, 0 to 1."""
        by_steps = self.steps / self.settings.max_steps if self.settings.max_steps else 0.0
        return min(1.0, max(by_steps, self.elapsed / (60 * self.settings.minutes)))

    def rate(self) -> float:
        """Return the current learning rate."""
        warm = min(1.0, (self.steps + 1) / self.settings.warmup_steps)
        return self.settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * self.share()))

    def finished(self) -> bool:
        """Return whether the minutes, or the steps of a limited run, are used up."""
        return self.share() >= 1

    def step(self, loss: torch.Tensor) -> None:
        """Update the weights and their average."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimiser.step()
        self.steps += 1
        self.average.update(self.module, self.steps)

    def run(self, loss_of_step: Callable[[], torch.Tensor], check: Callable[[Any], str]) -> Any:
        """Train to the end; return the averaged module. `check` describes it at each checkpoint."""
        self.module.train()
        clock, saved_at, running = time.monotonic(), self.elapsed, float("nan")
        while not self.finished():
            loss = loss_of_step()
            self.step(loss)
            running = loss.item() if math.isnan(running) else 0.98 * running + 0.02 * loss.item()
            now = time.monotonic()
            self.elapsed, clock = self.elapsed + now - clock, now
            if self.elapsed - saved_at > 60 * self.settings.checkpoint_minutes:
                saved_at = self.elapsed
                self._save()
                self.report(running, check)
        self.report(running, check)
        return self.average.module

    def learn(
        self, sampler: Sampler, loss_of_step: Callable[[], torch.Tensor], check: Callable[[Any], str]
    ) -> dict[str, torch.Tensor]:
        """Measure the trained weights from which a stage starts, then run it; return the averaged weights by name."""
        sampler.go_on(self.steps)
        self.report(math.nan, check)
        state: dict[str, torch.Tensor] = self.run(loss_of_step, check).state_dict()
        return state

    def report(self, loss: float, check: Callable[[Any], str]) -> None:
        """Print one line of the log."""
        drawn = self.steps * self.settings.batch
        print(
            f"{self.name}: {self.elapsed / 60:.1f} min, {self.steps} steps, {drawn} drawn, "
            f"loss {loss:.3f}, {check(self.average.module)}",
            flush=True,
        )
