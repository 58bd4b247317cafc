"""A small collection of real and hostile images for the tests of the page, made once."""

from __future__ import annotations

import csv
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.prepared import prepared_page
from tests.support.program import ROOT, program_env

# The first breaks out of unescaped markup, the second out of Gradio's templates even if it is escaped.
HOSTILE_LABEL = "<img src=x onerror=document.body.dataset.pwned=1>"
HOSTILE_TEMPLATE = "${document.body.setAttribute(String.fromCharCode(120),1)} \\u{{constructor}}"
HOSTILE_NAME = "<img src=x onerror=document.body.dataset.pwned=2>.png"
HOSTILE_KIND = "<img src=x onerror=document.body.dataset.pwned=4>"
HOSTILE_NOTE = '=HYPERLINK("http://evil.example")'
BIG_ID = 2**62 + 1  # above 2**53, up to which JavaScript's numbers are exact

IMAGES = {
    "astronaut.png": "astronaut", "camera.png": "photographer", "chelsea.png": "cat", "coffee.png": "coffee_cup",
    "coins.png": "coins", "grass.png": "texture", "gravel.png": "texture", "brick.png": "texture", "moon.png": "moon",
    "hubble_deep_field.jpg": "galaxies", "motorcycle_left.png": "motorcycle", "rocket.jpg": "rocket",
}  # fmt: skip


@dataclass(frozen=True)
class Collection:
    """An indexed collection that no process has open; `ids` maps labels to ids."""

    uri: Path
    images: Path
    ids: dict[str, int]

    def copy_to(self, folder: Path) -> str:
        """Copy the database into a folder, because only one process can open a Milvus Lite file."""
        return str(shutil.copytree(self.uri, folder / "page.db"))


def image_folder() -> Path:
    """Return the folder of scikit-image's photographs."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-image, whose photographs these tests search, is not installed")
    return Path(spec.origin).parent / "data"


@functools.cache
def make_collection(folder: Path) -> Collection:
    """Index the images in a separate process, so that no connection stays open here; all workers share them."""
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "page_collection"
    source, images = image_folder(), folder / "images"
    rows = [(100 + index, source / name, label) for index, (name, label) in enumerate(IMAGES.items())]
    rows += [(200, images / "gone.png", "gone"), (201, images / "becomes_svg.png", "svg")]
    rows += [(202, images / "turned.bmp", "bmp")]
    rows += [(-5, images / HOSTILE_NAME, HOSTILE_LABEL), (BIG_ID, images / "template.png", HOSTILE_TEMPLATE)]
    with FileLock(f"{folder}.lock", timeout=280):
        if not (folder / "made").exists():
            _index(folder, source / "chelsea.png", rows)
            (folder / "made").touch()
    return Collection(folder / "made.db", images, {label: number for number, _, label in rows})


def _index(folder: Path, photograph: Path, rows: list[tuple[int, Path, str]]) -> None:
    """Draw the images that scikit-image lacks, index all rows, and then break two of the files."""
    from PIL import Image

    images = folder / "images"
    images.mkdir(parents=True)
    cat = Image.open(photograph)
    for name in ("gone.png", "becomes_svg.png", "turned.bmp", HOSTILE_NAME):
        cat.rotate(len(name)).save(images / name)
    cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(images / "template.png")
    with open(folder / "images.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "path", "label", "year", "kind", "outdoors", "note", "shot on"))
        writer.writerows((*row, *details(index)) for index, row in enumerate(rows))
    insert_apart(folder / "images.csv", folder / "made.db")
    (images / "gone.png").unlink()
    (images / "becomes_svg.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")


def details(index: int) -> tuple[object, ...]:
    """Return further columns of a row: year (once empty), kind (one of three), outdoors, note, shot on (a date)."""
    kinds = ("animal", "thing", HOSTILE_KIND)
    return (
        2000 + index if index else "",
        kinds[index % 3],
        index % 2 == 0,
        HOSTILE_NOTE if index == 2 else f"no. {index}",
        f"{index + 1}/6/2020" if index else "",
    )


def insert_apart(csv: Path, uri: Path | str) -> None:
    """Index the images of a CSV in a separate process, so that no connection stays open here."""
    command = ["insert", str(csv), "--uri", str(uri), "--model", "builtin", "--no-metadata"]
    done = prepared_page().run(command, csv.parent)
    assert done.status == 0, done


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the repository."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300)


def environment(**extra: str) -> dict[str, str]:
    """Return the environment for a program, with unbuffered output."""
    return program_env({"PYTHONUNBUFFERED": "1", **extra})
