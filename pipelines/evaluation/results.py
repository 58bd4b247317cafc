"""What an evaluation finds, as plain data: the table and the JSON are two views of it."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Any

from .metrics import Estimate


@dataclass(frozen=True, slots=True)
class Answer:
    """One hit of an example: an image's path, or a caption; and whether it is right."""

    text: str
    is_image: bool
    right: bool
    score: float


@dataclass(frozen=True, slots=True)
class Example:
    """A query that went well or badly, with its first hits. `first_right` is the rank of the first right answer."""

    kind: str  # "best" or "worst"
    query: str
    is_image: bool
    label: str
    first_right: int
    average_precision: float
    answers: list[Answer]


@dataclass(frozen=True)
class Task:
    """One way of asking, measured. `groups` are the figures by class (its mAP@10), where there are classes."""

    key: str
    title: str
    queries: int
    candidates: int
    figures: dict[str, Estimate]
    groups: dict[str, float]
    first_ranks: list[int]
    examples: list[Example]


@dataclass(frozen=True)
class IndexLoss:
    """What the approximate search loses against exact search over the same vectors, and how long it takes.

    `recall` is the mean over queries of the share of the exact first `k` that the index found. Milliseconds are of
    one query at a time; `embed_*` of one text, None where no text was asked.
    """

    index: str
    k: int
    queries: int
    recall: Estimate
    search_p50_ms: float
    search_p95_ms: float
    embed_p50_ms: float | None
    embed_p95_ms: float | None


@dataclass(frozen=True)
class Evaluation:
    """Everything measured about one collection with one model."""

    collection: str
    model: str
    images: int
    classes: int
    captions: int
    templates: int
    seconds: float
    tasks: list[Task]
    index: IndexLoss
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The model for a heading: of one that is a folder, the folder's own name."""
        return os.path.basename(self.model)

    def task(self, key: str) -> Task | None:
        """The task of this key, if it was measured."""
        return next((task for task in self.tasks if task.key == key), None)

    def as_json(self) -> dict[str, Any]:
        """For `--json`: all figures, without the examples."""
        values = dataclasses.asdict(self)
        for task in values["tasks"]:
            del task["examples"], task["first_ranks"]
        return values
