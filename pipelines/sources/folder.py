"""All images below a folder, on a disk or in an object store."""

from __future__ import annotations

import importlib.util
import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from itertools import compress, islice
from pathlib import Path

from ..errors import InputError, counted
from ..fetch.read import open_store, store_errors
from ..fields import Field, FieldType
from .choice import DEFAULT_CHOICE, IGNORE_FILE, Choice, Selection
from .source import WHOLE, Findings, Row, Shard, in_chunks, path_id

_JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
_RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw"}
    | {".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
# Images that need one more package: its module and its name → their kind and their suffixes.
_WITH_PACKAGE = {
    ("pillow_heif", "pillow-heif"): ("HEIC", frozenset({".heic", ".heif"})),
    ("rawpy", "rawpy"): ("a RAW photo", _RAW_SUFFIXES),
    ("imagecodecs", "imagecodecs"): ("JPEG XL", frozenset({".jxl"})),
}
IMAGE_SUFFIXES = frozenset(
    _JPEG_SUFFIXES
    | {".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".mpo", ".dib"}
    | {".psd", ".tga", ".pcx", ".sgi", ".qoi", ".ico", ".icns", ".xbm", ".dds"}
).union(*(suffixes for _, suffixes in _WITH_PACKAGE.values()))
# Suffixes of files that cannot be read, by kind.
_UNREADABLE_KINDS = {
    "a video": ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv",
    "a drawing or document": ".ai .cdr .eps .kra .pdf .ps .psb .svg .svgz .xcf",
    "an image of a kind that is not supported": ".exr .hdr .jls .jxr .wdp",
}
_UNREADABLE = {
    suffix: f"{kind}, which cannot be read"
    for kind, suffixes in _UNREADABLE_KINDS.items()
    for suffix in suffixes.split()
}
_KNOWN = IMAGE_SUFFIXES | _UNREADABLE.keys()
_SHARD_ROWS = 1000


class FolderSource:
    """The images below a folder, folder by folder, sorted by name, without those that `choice` leaves out.

    An image's label is the name of its folder, '' in the top folder. Linked folders are followed, each only once.

    Raises:
        InputError: the folder cannot be listed or holds no image.
    """

    is_folder = True
    fills: tuple[str, ...] = ("label",)

    def __init__(self, root: Path, limit: int = 0, shard: Shard = WHOLE, choice: Choice = DEFAULT_CHOICE) -> None:
        self._top = str(root.resolve())
        self._check(str(root), limit, shard, choice)

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows of this shard, `size` at a time."""
        return in_chunks(self._rows(), size)

    def _rows(self) -> Iterator[Row]:
        for rows in in_chunks(self._all_rows(), _SHARD_ROWS):
            yield from compress(rows, self._shard.takes([row.id for row in rows]))

    def _check(self, name: str, limit: int, shard: Shard, choice: Choice) -> None:
        self._limit, self._shard, self._choice = limit or None, shard, choice
        self.fields: tuple[Field, ...] = (Field("label", FieldType.TEXT),)
        self.total, found = 0, 0
        for rows in in_chunks(self._all_rows(), _SHARD_ROWS):
            found += len(rows)
            self.total += int(shard.takes([row.id for row in rows]).sum())
        if self._top in self.findings.unlisted:
            raise InputError(f"{name} cannot be listed: {self.findings.unlisted[self._top]}")
        if not found:
            kinds = Counter(reason for _, reason in self.findings.unsupported)
            notes = "".join(f"; {note}" for note in self.findings.notes)
            notes += "".join(f"; {counted(count, 'file')}: {reason}" for reason, count in kinds.items())
            looked_for = " ".join(sorted(IMAGE_SUFFIXES - _RAW_SUFFIXES - _unreadable().keys()))
            raise InputError(f"there is no image in {name} (looked for {looked_for}){notes}")

    def _all_rows(self) -> Iterator[Row]:
        for line, (path, label) in enumerate(islice(self._images(), self._limit), 1):
            yield Row(path_id(path), path, line, {"label": label})

    def _images(self) -> Iterator[tuple[str, str]]:
        """The path and label of each image. Each walk starts its own `findings`."""
        self.findings = findings = Findings()
        selection, left_out = Selection(self._top, self._choice), 0
        unreadable = _unreadable()
        for folder, subfolders, files in self._walk():
            selection.enter(folder, self._read(folder, IGNORE_FILE) if IGNORE_FILE in files else "")
            subfolders[:] = sorted(name for name in subfolders if selection.takes(folder, name, is_folder=True))
            label = "" if folder == self._top else os.path.basename(folder)
            split = ((name, *os.path.splitext(name)) for name in sorted(files))
            known = [(name, stem, suffix.lower()) for name, stem, suffix in split if suffix.lower() in _KNOWN]
            taken = [one for one in known if selection.takes(folder, one[0])]
            developed = {stem for _, stem, suffix in taken if suffix in _JPEG_SUFFIXES}
            for name, stem, suffix in taken:
                if suffix in _RAW_SUFFIXES and stem in developed:
                    left_out += 1
                elif suffix in unreadable:
                    self._list_unsupported(self._join(folder, name), unreadable[suffix])
                else:
                    yield self._join(folder, name), label
        findings.notes += selection.notes()
        if left_out:
            findings.notes.append(f"RAW photos left out beside a JPEG of the same name: {left_out:,}")

    def _list_unsupported(self, path: str, reason: str) -> None:
        row = Row(path_id(path), path, 0, {})
        if self._shard.takes([row.id])[0]:
            self.findings.unsupported.append((row, reason))

    def _walk(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """Each folder with its subfolders and files; as with os.walk, the caller sorts and filters the subfolders."""
        walked: set[str] = set()
        starts = [self._top]
        for start in starts:  # linked folders come last, so that a folder below the top is known by its own path
            for folder, subfolders, files in os.walk(start, onerror=self._note_unlisted):
                real = os.path.realpath(folder)
                if real in walked:
                    subfolders.clear()
                    continue
                walked.add(real)
                yield folder, subfolders, files
                starts += (path for name in subfolders if os.path.islink(path := os.path.join(folder, name)))

    def _note_unlisted(self, error: OSError) -> None:
        self.findings.unlisted[str(error.filename)] = error.strerror or str(error)

    def _read(self, folder: str, name: str) -> str:
        """The text of an ignore file."""
        path = self._join(folder, name)
        try:
            return Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error

    def _join(self, folder: str, name: str) -> str:
        return os.path.join(folder, name)


def _unreadable() -> dict[str, str]:
    """Suffix → why it cannot be read: its kind, or a package that is not installed."""
    missing = {
        suffix: f"{kind}, which needs one more package: pip install {package}"
        for (module, package), (kind, suffixes) in _WITH_PACKAGE.items()
        if importlib.util.find_spec(module) is None
        for suffix in suffixes
    }
    return {**_UNREADABLE, **missing}


class BucketSource(FolderSource):
    """The images below a folder in an object store, such as `s3://bucket/photos`.

    Raises:
        InputError: the store cannot be listed, or the folder holds no image.
    """

    def __init__(self, url: str, limit: int = 0, shard: Shard = WHOLE, choice: Choice = DEFAULT_CHOICE) -> None:
        self._url = url.rstrip("/")
        self._filesystem, top = open_store(url)
        self._top = top.rstrip("/")
        self._check(url, limit, shard, choice)

    def _walk(self) -> Iterator[tuple[str, list[str], list[str]]]:
        # Not fsspec's own walk: it silently leaves out a subfolder that it cannot list.
        waiting = [self._top]
        while waiting:
            folder = waiting.pop()
            with store_errors(self._address(folder)):
                entries = self._filesystem.ls(folder, detail=True)
            listed = [(str(entry["name"]).rstrip("/"), entry["type"]) for entry in entries]
            below = [(posixpath.basename(name), kind) for name, kind in listed if name != folder]
            subfolders = [name for name, kind in below if kind == "directory"]
            yield folder, subfolders, [name for name, kind in below if kind != "directory"]
            waiting += (f"{folder}/{name}" for name in reversed(subfolders))

    def _read(self, folder: str, name: str) -> str:
        with store_errors(self._join(folder, name)):
            return str(self._filesystem.cat_file(f"{folder}/{name}").decode("utf-8-sig"))

    def _join(self, folder: str, name: str) -> str:
        return f"{self._address(folder)}/{name}"

    def _address(self, folder: str) -> str:
        return self._url + folder[len(self._top) :]
