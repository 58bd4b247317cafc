"""How many of the first ten hits have the label that was asked for? `python -m benchmarks.label_precision CSV`

Every distinct label of a labelled CSV (or folder) is a query, "a photo of a LABEL", against all of its pictures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from tabulate import tabulate

from pipelines import Searcher, Settings, run_insert

TOP_K = 10


def main() -> None:
    """Prints precision@10 and hit@10, beside what chance would give."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="a CSV with path and label, or a folder of folders")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--weights", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(uri=str(Path(folder, "x.db")), model=options.model, weights=options.weights)
        summary = run_insert(options.source, settings)
        searcher = Searcher(settings)
        rows = searcher.store.query("id >= 0 or id < 0", ["label"], limit=16_384)
        sizes = Counter(row["label"] for row in rows)
        right = np.array([_right(searcher, label) for label in sorted(sizes)])
    chance = np.mean([size / len(rows) for size in sizes.values()])
    figures = [
        ["pictures / classes", f"{len(rows):,} / {len(sizes)}"],
        ["precision@10", f"{right.mean() / TOP_K:.1%} (chance {chance:.1%})"],
        ["hit@10 (a right one among the ten)", f"{(right > 0).mean():.0%}"],
        ["indexed", f"{summary.images_per_second:,.0f} pictures/s"],
    ]
    print(tabulate(figures, headers=[f"{summary.model}", ""], tablefmt="github"))


def _right(searcher: Searcher, label: str) -> int:
    hits = searcher.by_text(f"a photo of a {label.replace('_', ' ')}", TOP_K).hits
    return sum(hit.fields["label"] == label for hit in hits)


if __name__ == "__main__":
    main()
