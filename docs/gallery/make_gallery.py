"""Make a folder of freely licensed photographs and its CSV from the works listed in `credits.csv`.

    python docs/gallery/make_gallery.py [FOLDER]

The script needs scikit-image, Pillow, and the package sources of Debian 12 (`apt-get download`, `dpkg-deb`). It
installs nothing. FOLDER (`gallery` by default) receives `packages/` (240 MB, kept for the next run),
`photographs/` (30 MB) and `photographs.csv`.
"""

from __future__ import annotations

import csv
import io
import re
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

CREDITS = Path(__file__).with_name("credits.csv")
LONGEST_SIDE = 1600  # pixels
JPEG_QUALITY = 88
COLUMNS = ("label", "title", "category", "author", "licence", "package", "source")


def make_gallery(folder: Path) -> int:
    """Write the photographs and their CSV, and return the number of photographs.

    Raises:
        FileNotFoundError: a package does not contain a file that `credits.csv` names.
        subprocess.CalledProcessError: apt-get or dpkg-deb failed.
    """
    with open(CREDITS, newline="", encoding="utf-8") as file:
        works = list(csv.DictReader(file))
    (folder / "packages").mkdir(parents=True, exist_ok=True)
    (folder / "photographs").mkdir(exist_ok=True)
    for package in sorted({work["package"] for work in works}):
        chosen = {work["file"]: work["title"] for work in works if work["package"] == package}
        read = read_samples if package == "scikit-image" else read_package
        for name, content in read(package, list(chosen), folder / "packages"):
            save_photograph(content, folder / path_of(chosen[name]))
    with open(folder / "photographs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *COLUMNS])
        writer.writerows([path_of(work["title"]), *(work[column] for column in COLUMNS)] for work in works)
    return len(works)


def path_of(title: str) -> str:
    """Return the path of a photograph, relative to the gallery's folder."""
    return f"photographs/{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}.jpg"


def read_samples(package: str, names: list[str], cache: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of files in scikit-image's data folder."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("scikit-image is not installed: pip install scikit-image")
    for name in names:
        yield name, (Path(spec.origin).parent / "data" / name).read_bytes()


def read_package(package: str, names: list[str], cache: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of files in a Debian package.

    A name is a path, or `path:end` for the file in a Qt resource archive whose own path ends in `/end`.
    """
    if not list(cache.glob(f"{package}_*.deb")):
        subprocess.run(["apt-get", "--quiet", "download", package], cwd=cache, check=True)
    deb = next(cache.glob(f"{package}_*.deb"))
    unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
        for name in names:
            path, _, end = name.partition(":")
            try:
                member = tar.extractfile(f"./{path}")
            except KeyError:
                member = None
            if member is None:
                raise FileNotFoundError(f"{deb.name} has no {path}: take the package from Debian 12")
            yield name, find_resource(member.read(), end) if end else member.read()


def find_resource(archive: bytes, end: str) -> bytes:
    """Return the content of the file in a Qt resource archive whose path ends in `/end`."""
    for path, content in walk_resources(archive):
        if path.endswith(f"/{end}"):
            return content
    raise FileNotFoundError(f"the resource archive has no {end}: take the package from Debian 12")


def walk_resources(archive: bytes, node: int = 0, folder: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield the path and content of each uncompressed file in a Qt resource archive; images are never compressed.

    An archive is a tree of 22-byte nodes, a table of names in UTF-16, and the contents, each after its length
    (qtbase/src/corelib/io/qresource.cpp of Qt 5, format version 2 and later).
    """
    tree, contents, names = struct.unpack_from(">3I", archive, 8)
    name, flags, first, second = struct.unpack_from(">IHII", archive, tree + 22 * node)
    (length,) = struct.unpack_from(">H", archive, names + name)
    start = names + name + 6  # after the length and the hash
    path = f"{folder}/{archive[start : start + 2 * length].decode('utf-16-be')}" if node else ""
    if flags & 2:  # a folder: `first` children, stored from node `second` on
        for child in range(second, second + first):
            yield from walk_resources(archive, child, path)
    elif flags == 0:  # an uncompressed file: its content starts at `second`
        (length,) = struct.unpack_from(">I", archive, contents + second)
        start = contents + second + 4
        yield path, archive[start : start + length]


def save_photograph(content: bytes, path: Path) -> None:
    """Save an image as a JPEG of at most 1600 x 1600 pixels."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    image.save(path, "JPEG", quality=JPEG_QUALITY)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
    try:
        print(f"{target / 'photographs.csv'}: {make_gallery(target)} photographs")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
