"""Render the findings as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .process import STOPPED

HEADERS = (
    "code path", "images", "images/s", "cold start (s)", "peak memory (MB)", "query p50 / p95 (ms)",
    "bad image survives", "second run re-does the work",
)  # fmt: skip
NONE = "–"


@dataclass
class Row:
    """A peer: its findings by mode (index, search, bad), and the notes below the table."""

    title: str
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)
    good: int = 0
    not_run: str = ""

    @property
    def notes(self) -> list[str]:
        """Every failure, with its reason."""
        if self.not_run:
            return [f"{self.title}: not run. {self.not_run}"]
        what = {"index": "indexing", "search": "searching", "bad": "with broken images"}
        notes = []
        for mode, found in self.findings.items():
            for reason in (found.get("skipped"), found.get("error"), found.get("bad_error")):
                if reason:
                    notes.append(f"{self.title}, {what[mode]}: {reason}")
        return notes

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the row. A missing finding is a dash, and a note says why."""
        index, search, bad = (self.findings.get(mode, {}) for mode in ("index", "search", "bad"))
        title = " ".join(part for part in (self.title, index.get("version") or search.get("version") or "") if part)
        rate = index["images"] / index["seconds"] if index.get("seconds") else 0.0
        cold = search["first_result"] - search["started"] if "first_result" in search else 0.0
        peak = max(index.get("peak_mb", 0.0), search.get("peak_mb", 0.0))
        return (
            title,
            str(index["images"]) if "images" in index else NONE,
            f"{rate:.0f}" if rate else NONE,
            f"{cold:.1f}" if cold else NONE,
            f"{peak:,.0f}" if peak else NONE,
            _latency(search.get("latencies", ())),
            _survives(bad, self.good),
            _again(index),
        )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * share // 1) - 1))]


def render(rows: Sequence[Row]) -> str:
    """Return a Markdown table, with the reasons for missing cells below it."""
    from tabulate import tabulate

    table = tabulate([row.cells() for row in rows], headers=HEADERS, tablefmt="github", disable_numparse=True)
    notes = [f"- {note}" for row in rows for note in row.notes]
    return "\n".join([table, *(["", "What failed, and how:", "", *notes] if notes else [])])


def _latency(seconds: Sequence[float]) -> str:
    if not seconds:
        return NONE
    fast, slow = (percentile(seconds, share) * 1000 for share in (0.5, 0.95))
    return f"{fast:.1f} / {slow:.1f}" if slow < 10 else f"{fast:.0f} / {slow:.0f}"


def _survives(bad: dict[str, Any], good: int) -> str:
    if not bad or "skipped" in bad:
        return NONE
    if str(bad.get("error", "")).startswith(STOPPED):
        return "not done in time"
    stored = bad.get("bad_stored", 0)
    if bad.get("error") or bad.get("bad_error") or stored < good:
        return f"no ({stored} of {good} good ones stored)"
    return "yes" if stored == good else f"yes, but {stored - good} of the broken ones stored too"


def _again(index: dict[str, Any]) -> str:
    if not index.get("seconds") or "seconds_again" not in index:
        return NONE
    share = index["seconds_again"] / index["seconds"]
    return f"{'yes' if share > 0.5 else 'no'} ({share:.0%} of the first run's time)"
