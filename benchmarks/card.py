"""Write the figures of `builtin` into its model card: `python -m benchmarks.card --data DIR`.

DIR holds the two evaluation sets, `reverse_image_search` and `flickr8k_test`. Both are indexed into temporary files.
`image-search evaluate` measures them, and its output goes into the card unchanged.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

CARD = Path(__file__).parents[1] / "pipelines" / "models" / "BUILTIN.md"
BEGIN, END = "<!-- printed by benchmarks.card -->", "<!-- end -->"
# The images of each measurement, and its options for `evaluate`.
SETS = (
    ("reverse_image_search/reverse_image_search.csv", ()),
    ("reverse_image_search/reverse_image_search.csv", ("--templates", "openai")),
    ("flickr8k_test/images.csv", ("--captions", "flickr8k_test/captions.csv")),
)


def run(*arguments: str) -> str:
    """Return the output of `image-search ARGUMENTS`."""
    command = [sys.executable, "-W", "ignore", "-m", "pipelines", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=CARD.parents[2]).stdout


def measure(data: Path) -> str:
    """Return the tables of all measurements, each under its command."""
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        for images, options in SETS:
            uri = str(Path(folder, f"{Path(images).parent}.db"))
            if not Path(uri).exists():
                run("insert", str(data / images), "--uri", uri, "--model", "builtin")
            asked = [str(data / option) if option.endswith(".csv") else option for option in options]
            shown = " ".join(["image-search evaluate", *options])
            parts.append(f"`{shown}` on `{images}`:\n\n{run('evaluate', '--uri', uri, *asked).strip()}")
    return "\n\n".join(parts)


def put(card: str, printed: str, mark: str = BEGIN) -> str:
    """Return the card with `printed` between `mark` and the END after it.

    Raises:
        ValueError: the card lacks one of the two.
    """
    before, begin, rest = card.partition(mark)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the model card has no '{mark}' with '{END}' after it: put both where the tables belong")
    return f"{before}{mark}\n\n{printed}\n\n{END}{after}"


def main() -> None:
    """Measure, and rewrite the card."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.card", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation sets")
    data = parser.parse_args().data.resolve()
    CARD.write_text(put(CARD.read_text(encoding="utf-8"), measure(data)), encoding="utf-8")
    print(f"wrote the tables into {CARD.name}")


if __name__ == "__main__":
    main()
