"""Random days on a folder and two CSVs, against a plain model of what should be stored after each run.

On a day, files are added, deleted, renamed, edited, broken and touched, folders are renamed, lines and columns of CSVs
come and go, a disk is unmounted and mounted, and a folder becomes unreadable. Then sources are indexed, some with
`--prune` or `--limit`; some runs are killed and started again.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from pipelines import Settings, run_insert
from pipelines.errors import InputError
from pipelines.indexing.gone import GoneFiles
from pipelines.indexing.prune import prune_collection
from pipelines.milvus import schema
from pipelines.operators.embedding import ClipEmbedding
from pipelines.sources.source import path_id
from tests.support.insert import all_rows, collection_of
from tests.support.killed import agree, run_and_kill
from tests.support.photos import draw_images

CONTENTS, BROKEN = 8, "broken"
WORDS = ("", "x", "y", "z")
KILLED = 0.06  # the share of runs that are killed
ELSEWHERE = 12345  # the device number that the disk had when its files were indexed, if it has another one now


@dataclass
class Entry:
    """A stored row, or a file's row in a source."""

    path: str
    content: str = ""
    sources: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    device: int = 0
    time: int = 0


@dataclass
class World:
    """Files and CSVs on a disk, and the rows that should be stored of them."""

    root: Path
    bytes_of: dict[str, bytes]
    random: Random
    files: dict[str, str] = field(default_factory=dict)  # path → content
    tables: dict[str, list[dict[str, str]]] = field(default_factory=lambda: {"one.csv": [], "two.csv": []})
    columns: dict[str, list[str]] = field(default_factory=lambda: {"one.csv": ["label"], "two.csv": ["tag"]})
    rows: dict[int, Entry] = field(default_factory=dict)
    mounted: bool = True
    locked: str = ""  # a folder that cannot be listed or read
    serial: int = 0

    @property
    def disk(self) -> Path:
        return self.root / "disk"

    def path(self) -> str:
        """Return a new path."""
        self.serial += 1
        folder = self.random.choice(["disk", "disk/a", "disk/b", "home"] if self.mounted else ["home"])
        return str(self.root / folder / f"{self.random.choice('mnop')}{self.serial}.jpg")

    def here(self) -> list[str]:
        """Return the paths of the files that can be seen."""
        return sorted(
            path
            for path in self.files
            if (self.mounted or not path.startswith(f"{self.disk}/")) and not self.is_locked(path)
        )

    def is_locked(self, path: str) -> bool:
        return bool(self.locked) and path.startswith(f"{self.locked}/")

    def lock(self, folder: Path) -> None:
        """Take away the right to read a folder, if that has an effect: root may read every folder."""
        if folder.exists():
            folder.chmod(0)
            self.locked = "" if os.access(folder, os.R_OK) else str(folder)

    def unlock(self, folder: Path) -> None:
        if folder.exists():
            folder.chmod(0o755)
        self.locked = ""

    def seen(self, path: str) -> str | None:
        return self.files[path] if path in self.here() else None

    def write(self, path: str, content: str) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_bytes(self.bytes_of[content])
        self.files[path] = content
        self.touch(path)

    def touch(self, path: str) -> None:
        self.serial += 1
        os.utime(path, ns=(self.serial * 10**9, self.serial * 10**9))

    def write_tables(self) -> None:
        for name, lines in self.tables.items():
            header = (["id"] if name == "two.csv" else []) + ["path", *self.columns[name]]
            with open(self.root / name, "w", newline="") as file:
                writer = csv.DictWriter(file, header, extrasaction="ignore", restval="")
                writer.writeheader()
                writer.writerows(lines)

    # What happens on a day.

    def add(self) -> None:
        self.write(self.path(), str(self.random.randrange(CONTENTS)))

    def delete(self) -> None:
        if paths := self.here():
            path = self.random.choice(paths)
            os.remove(path)
            del self.files[path]

    def rename(self) -> None:
        if paths := self.here():
            old, new = self.random.choice(paths), self.path()
            os.makedirs(os.path.dirname(new), exist_ok=True)
            os.rename(old, new)
            self.files[new] = self.files.pop(old)
            for line in (line for lines in self.tables.values() for line in lines if line["path"] == old):
                if self.random.random() < 0.5:  # somebody corrects the CSV
                    line["path"] = new

    def rename_folder(self) -> None:
        old = self.disk / self.random.choice("ab")
        if old.exists():
            self.serial += 1
            new = self.random.choice([self.disk, self.root / "home"]) / f"f{self.serial}"
            old.rename(new)
            self.files = {
                str(new / Path(path).name) if path.startswith(f"{old}/") else path: content
                for path, content in self.files.items()
            }

    def edit(self) -> None:
        if paths := self.here():
            self.write(self.random.choice(paths), self.random.choice([*map(str, range(CONTENTS)), BROKEN]))

    def touch_one(self) -> None:
        if paths := self.here():
            self.touch(self.random.choice(paths))

    def list_one(self) -> None:
        name = self.random.choice(list(self.tables))
        new = sorted(self.files.keys() - {line["path"] for line in self.tables[name]})
        if new:
            self.serial += 1
            path = self.random.choice(new)
            cells = {column: self.random.choice(WORDS) for column in ("label", "tag", "note")}
            self.tables[name].append({"id": str(self.serial), "path": path, **cells})

    def drop_line(self) -> None:
        lines = self.random.choice(list(self.tables.values()))
        if len(lines) > 1:
            lines.pop(self.random.randrange(len(lines)))

    def edit_line(self) -> None:
        if lines := [line for lines in self.tables.values() for line in lines]:
            self.random.choice(lines)[self.random.choice(["label", "tag", "note"])] = self.random.choice(WORDS)

    def change_columns(self) -> None:
        columns = self.columns[self.random.choice(list(self.columns))]
        column = self.random.choice(["label", "tag", "note"])
        columns.remove(column) if column in columns else columns.append(column)

    def unmount(self) -> None:
        """Unmount the disk: its mount point stays, empty, and is on another disk."""
        if self.mounted and self.disk.exists():
            self.disk.rename(self.root / "unmounted")
            self.disk.mkdir()
            self.mounted = False
            for row in self.rows.values():
                if row.path.startswith(f"{self.disk}/"):
                    row.device = ELSEWHERE

    def mount(self) -> None:
        if not self.mounted:
            shutil.rmtree(self.disk)
            (self.root / "unmounted").rename(self.disk)
            self.mounted = True

    # What should be stored.

    def listed(self, source: str) -> list[tuple[int | None, str, dict[str, str]]]:
        """Return the id, path and cells of each row of the source."""
        if source == "disk":
            paths = sorted((p for p in self.here() if p.startswith(f"{self.disk}/")), key=_walk_order)
            return [
                (None, path, {"label": "" if Path(path).parent == self.disk else Path(path).parent.name})
                for path in paths
            ]
        return [
            (int(line["id"]) if source == "two.csv" else None, line["path"], {c: line[c] for c in self.columns[source]})
            for line in self.tables[source]
        ]

    def is_gone(self, row: Entry) -> bool:
        if row.path in self.here() or self.is_locked(row.path):
            return False
        return row.device != ELSEWHERE or any(
            one.device == ELSEWHERE and one.path in self.here() for one in self.before.values()
        )

    def insert(self, source: str, limit: int) -> set[str]:
        """Change `rows` as a run should; return the contents that it has to embed."""
        self.before = {key: replace(row) for key, row in self.rows.items()}
        stored_contents = {row.content for row in self.before.values()}
        name, used, embedded = str(self.root / source), set(), set()
        self.listing: dict[int, bool] = {}
        for given_id, path, cells in self.listed(source)[: limit or None]:
            content = self.seen(path)
            key, old = self.find(name, given_id, path, used)
            self.listing[key] = content is not None or self.is_locked(path)
            stored = self.before.get(old) if old is not None else None
            if content is None:
                continue
            if content == BROKEN:
                if stored is not None:
                    self.rows.pop(old, None)
                continue
            if content not in stored_contents:
                embedded.add(content)
            self.store(name, key, old, stored, path, content, cells)
        return embedded

    def clashes(self, source: str, limit: int) -> bool:
        """Tell whether the run should stop: the CSV has the id of another image, which only other sources list."""
        stored = [
            (self.rows.get(key or 0), path, self.seen(path)) for key, path, _ in self.listed(source)[: limit or None]
        ]
        return any(
            row
            and content
            and row.path != path
            and row.content != content
            and str(self.root / source) not in row.sources
            for row, path, content in stored
        )

    def find(self, name: str, given_id: int | None, path: str, used: set[int]) -> tuple[int, int | None]:
        """Return the id of a row, and the id under which it was stored, or None for a new one."""
        natural = path_id(path)
        if given_id is not None and given_id in self.before:
            return given_id, given_id
        if given_id is None and natural in self.before and self.before[natural].path == path and natural not in used:
            return natural, natural
        free = {k: r for k, r in self.before.items() if k not in used and (given_id is None or k > 10**6)}
        alike = sorted((name not in row.sources, key) for key, row in free.items() if row.path == path)
        if alike:
            old = alike[0][1]
            if given_id is not None:
                used.add(old)
            return (old if given_id is None else given_id), old
        content = self.seen(path)
        if content is not None:
            moved = [key for key, row in free.items() if row.content == content and self.is_gone(row)]
            if moved:
                old = min(moved, key=lambda key: (-_common_tail(free[key].path, path), key))
                used.add(old)
                return (old if given_id is None else given_id), old
        if given_id is not None:
            return given_id, None
        key = natural
        while key in self.before or key in used:
            key += 1
        if key != natural:
            used.add(key)
        return key, None

    def store(
        self, name: str, key: int, old: int | None, stored: Entry | None, path: str, content: str, cells: dict[str, str]
    ) -> None:
        columns = dict(stored.columns) if stored else {}
        sources = stored.sources if stored else ()
        # The row that another source made for the file is merged into the row with the CSV's id.
        twins = [one for one, row in self.before.items() if row.path == path and one > 10**6 and one != old]
        for twin in twins[:1] if stored and stored.path != path and key < 10**6 else []:
            columns |= {c: v for c, v in self.before[twin].columns.items() if v}
            sources += self.before[twin].sources
            self.rows.pop(twin, None)
        if name.endswith("/disk"):
            kept, follows = columns.get("label", ""), False
            if stored and stored.path != path:
                follows = kept == Path(stored.path).parent.name
            if kept and not follows:
                cells = {}
        moved = stored is not None and stored.path != path and stored.content == content and self.is_gone(stored)
        if moved and stored and stored.path.startswith(f"{self.disk}/") and not path.startswith(f"{self.disk}/"):
            sources = tuple(one for one in sources if one != str(self.disk))
        if old is not None and old != key:
            self.rows.pop(old, None)
        written = Entry(path, content, tuple(dict.fromkeys([*sources, name])), {**columns, **cells})
        written.time = os.stat(path).st_mtime_ns
        empty = dict.fromkeys(("label", "tag", "note"), "")
        if stored is not None and replace(stored, columns=empty | stored.columns, device=0) == replace(
            written, columns=empty | written.columns
        ):
            written.device = stored.device  # nothing is written
        self.rows[key] = written

    def prune(self, source: str) -> bool:
        """Change `rows` as `--prune` should, after `insert`; return False if it should refuse to."""
        name, let_go = str(self.root / source), []
        for key, row in list(self.rows.items()):
            if name not in row.sources or self.listing.get(key):
                continue
            if key not in self.listing and source != "disk":
                lets_go = True
            elif key not in self.listing:
                lets_go = row.path in self.here() or self.is_gone(row)
            else:
                lets_go = self.is_gone(row)
            let_go += [key] * lets_go
        if let_go and not any(self.listing.values()):
            return False
        for key in let_go:
            self.rows[key].sources = tuple(one for one in self.rows[key].sources if one != name)
            if not self.rows[key].sources:
                del self.rows[key]
        return True


def _walk_order(path: str) -> tuple[str, str]:
    return os.path.dirname(path), os.path.basename(path)


def _common_tail(path: str, other: str) -> int:
    count = 0
    for one, two in zip(reversed(path.split("/")), reversed(other.split("/")), strict=False):
        if one != two:
            break
        count += 1
    return count


CHANGES = (
    World.add, World.add, World.add, World.delete, World.rename, World.rename, World.edit, World.touch_one,
    World.list_one, World.list_one, World.rename_folder,
    World.drop_line, World.edit_line, World.change_columns, World.unmount, World.mount,
)  # fmt: skip


def play(world: World, settings: Settings, days: int, embedded: list[int]) -> None:
    collection, names = collection_of(settings), {_hash(data): name for name, data in world.bytes_of.items()}
    for _ in range(6):
        world.add()
        world.list_one()
    for _ in range(days):
        for change in world.random.choices(CHANGES, k=world.random.randrange(1, 8)):
            change(world)
        if elsewhere := {key for key, row in world.rows.items() if row.device == ELSEWHERE}:
            rows = all_rows(settings)
            collection.upsert({**rows[key], "_device": ELSEWHERE} for key in elsewhere)
        world.write_tables()
        if world.random.random() < 0.2:
            world.lock(world.disk / "a")
        for source in world.random.sample(["disk", "one.csv", "two.csv"], world.random.randrange(1, 3)):
            if not world.listed(source):
                continue  # refused: the source has no rows
            prunes = world.random.random() < 0.4
            limit = 0 if prunes else world.random.choice([0, 0, 2])
            if world.clashes(source, limit):
                with pytest.raises(InputError, match="--ids from-path"):
                    run_insert(world.root / source, settings, limit=limit)
                continue
            expected = world.insert(source, limit)
            embedded.clear()
            refuses = prunes and not world.prune(source)
            options = {"limit": limit, "rejects": os.devnull, "prune": agree if prunes else None}
            is_again = world.random.random() < KILLED
            if is_again:
                run_and_kill(world.root / source, settings, options, at=world.random.randrange(1, 6))
            if refuses:
                with pytest.raises(InputError, match="nothing was removed"):
                    run_insert(world.root / source, settings, **options)
            else:
                run_insert(world.root / source, settings, **options)
            assert sum(embedded) <= len(expected) if is_again else sum(embedded) == len(expected)
            assert as_stored(settings, names) == as_expected(world)
        world.unlock(world.disk / "a")
    world.mount()
    if collection.exists():
        world.before = world.rows
        kept = {key: row for key, row in world.rows.items() if not world.is_gone(row)}
        prune_collection(collection, GoneFiles(collection), lambda gone, total: True)
        world.rows = kept
        assert as_stored(settings, names) == as_expected(world)
        collection.drop()


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def as_stored(settings: Settings, names: dict[str, str]) -> dict[int, tuple[object, ...]]:
    return {
        key: (
            row["path"], names[row["_hash"]], set(schema.split_sources(row["_source"])),
            *(row.get(column, "") for column in ("label", "tag", "note")),
        )
        for key, row in all_rows(settings).items()
    }  # fmt: skip


def as_expected(world: World) -> dict[int, tuple[object, ...]]:
    return {
        key: (row.path, row.content, set(row.sources), *(row.columns.get(c, "") for c in ("label", "tag", "note")))
        for key, row in world.rows.items()
    }


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of the number of images in each model call."""
    sizes: list[int] = []
    original = ClipEmbedding.__call__

    def counted(self: ClipEmbedding, items: list[np.ndarray]) -> np.ndarray:
        sizes.append(sum(item.size > 0 for item in items))
        return original(self, items)

    monkeypatch.setattr(ClipEmbedding, "__call__", counted)
    return sizes


@pytest.fixture
def bytes_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return the contents of eight images and of a file that is no image, by name."""
    monkeypatch.chdir(tmp_path)
    images = draw_images(tmp_path / "contents", CONTENTS)
    return {**{str(number): path.read_bytes() for number, path in enumerate(images)}, BROKEN: b"no image"}


def play_anew(
    random: Random, uri: str, bytes_of: dict[str, bytes], embedded: list[int], tmp_path: Path, days: int
) -> None:
    """Play with empty folders and a new collection."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as name:
        (Path(name) / "home").mkdir()
        (Path(name) / "disk").mkdir()
        settings = Settings(uri=uri, collection=f"d_{uuid.uuid4().hex[:12]}", model="builtin")
        play(World(Path(name).resolve(), bytes_of, random), settings, days, embedded)


def check_days(
    uri: str, bytes_of: dict[str, bytes], embedded: list[int], tmp_path: Path, plays: int, days: int
) -> None:
    @examples(
        max_examples=plays, deadline=None, database=None, derandomize=True, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def played(random: Random) -> None:
        play_anew(random, uri, bytes_of, embedded, tmp_path, days)

    played()


@pytest.mark.long
def test_twenty_days(lite: Settings, bytes_of: dict[str, bytes], embedded: list[int], tmp_path: Path) -> None:
    check_days(lite.uri, bytes_of, embedded, tmp_path, plays=2, days=10)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_days(lite: Settings, bytes_of: dict[str, bytes], embedded: list[int], tmp_path: Path) -> None:
    check_days(lite.uri, bytes_of, embedded, tmp_path, plays=100, days=10)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 10, 11, 12, 20, 21])
def test_ten_days_on_a_server(
    milvus_server: str, bytes_of: dict[str, bytes], embedded: list[int], tmp_path: Path, seed: int
) -> None:
    # A play takes a minute, mostly waiting for the server, so a failing one is not shrunk: its seed identifies it.
    play_anew(Random(seed), milvus_server, bytes_of, embedded, tmp_path, days=10)
