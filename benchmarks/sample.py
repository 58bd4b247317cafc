"""Do words find the sample images? `python -m benchmarks.sample`

Index the images of `data/build_sample.py` with `builtin`, and search for what they show.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

from tabulate import tabulate

from pipelines import Searcher, Settings, run_insert

# Each query, and a label that must be among its first hits.
QUERIES = (
    ("a cat", "cat"),
    ("an astronaut", "astronaut"),
    ("a cup of coffee", "cup of coffee"),
    ("a rocket", "rocket"),
    ("a motorcycle", "motorcycle"),
    ("a man with a camera", "man with a camera"),
    ("galaxies in space", "galaxies"),
    ("old coins", "coins"),
    ("a brick wall", "brick wall"),
    ("green grass", "grass"),
    ("gravel", "gravel"),
    ("handwriting", "handwriting"),
)


def load_builder() -> object:
    """Load the module `data/build_sample.py`; `data` is a folder of data, not a package."""
    path = Path(__file__).parents[1] / "data" / "build_sample.py"
    spec = importlib.util.spec_from_file_location("build_sample", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ranks(searcher: Searcher) -> dict[str, int]:
    """Return the rank of the first right image for each query."""
    total = searcher.info().rows
    found = {}
    for query, label in QUERIES:
        hits = searcher.by_text(query, limit=total).hits
        found[query] = next(hit.rank for hit in hits if hit.fields["label"] == label)
    return found


def main() -> None:
    """Print a row for each query, and how many find their image within the first three."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "sample.csv")
        rows = load_builder().build_sample(table)  # type: ignore[attr-defined]
        settings = Settings(uri=str(Path(folder, "sample.db")), model="builtin")
        run_insert(table, settings)
        found = ranks(Searcher(settings))
    print(tabulate(found.items(), headers=["query", f"rank of its image (of {rows})"], tablefmt="github"))
    print(f"\nwithin the first three: {sum(rank <= 3 for rank in found.values())} of {len(found)}")


if __name__ == "__main__":
    main()
