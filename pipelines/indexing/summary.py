"""What an insert run did, in numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Summary:
    """What a run did. `rows` is the number looked at; the six counts below it add up to it.

    inserted: new, embedded.
    updated: the image changed; embedded again.
    deduplicated: the same image, byte for byte, was already embedded under another name: its embedding was taken.
    metadata_updated: the image is as it was, something else is new: a column of the CSV, the file's time, its path.
    unchanged: nothing was done.
    rejected: could not be used; `rejects_file` says why.
    removed: rows that `--prune` took out; not among `rows`.
    runtime: what ran the model, and how many images at a time.
    """

    source: str
    collection: str
    model: str
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    deduplicated: int = 0
    metadata_updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    removed: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    interrupted: bool = False
    rejects_file: str = ""
    runtime: str = ""
    step_seconds: dict[str, float] = field(default_factory=dict)

    def count(self, outcome: str) -> None:
        """Adds one row to a count, by its name."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        self.rows += 1


Progress = Callable[[Summary, int], None]
