"""A folder leaves out bins, thumbnails, hidden and excluded files, and reports the kinds that cannot be read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from pipelines.errors import InputError
from pipelines.sources import open_source
from pipelines.sources.source import Findings, Shard
from tests.support.program import program_env
from tests.support.sources import rows_of


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def taken(folder: Path, **options: object) -> list[str]:
    """Return the images that are taken, relative to the folder."""
    return [os.path.relpath(row.path, folder) for row in rows_of(folder, **options)]


def findings_of(folder: Path | str, **options: object) -> Findings:
    return open_source(folder, **options).findings


# --- Bins, thumbnails, hidden files ----------------------------------------------------------------------------------

LEFT_OUT = [
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/b.jpg", ".Trash-1000/files/c.jpg", "__MACOSX/d.jpg",
    ".thumbnails/e.jpg", "$RECYCLE.BIN/f.jpg", "trip/._g.jpg", "trip/@eaDir/h.jpg", ".i.jpg",
]  # fmt: skip


def test_bins_thumbnails_and_hidden_files_are_left_out_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "trip/b.jpg", ".notes.txt", *LEFT_OUT)
    assert taken(tmp_path) == ["a.jpg", "trip/b.jpg"]
    assert findings_of(tmp_path).notes == ["hidden files, thumbnails and bins left out: 9; --include-hidden takes them"]


def test_bins_thumbnails_and_hidden_files_can_be_included(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", *LEFT_OUT)
    assert sorted(taken(tmp_path, include_hidden=True)) == sorted(["a.jpg", *LEFT_OUT])
    assert findings_of(tmp_path, include_hidden=True).notes == []


def test_a_folder_that_is_itself_hidden_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, ".photos/a.jpg")
    assert taken(tmp_path / ".photos") == ["a.jpg"]


def test_a_folder_of_nothing_but_hidden_images_is_refused_with_the_way_out(tmp_path: Path) -> None:
    touch(tmp_path, ".a.jpg")
    with pytest.raises(InputError, match="--include-hidden takes them"):
        open_source(tmp_path)


# --- Patterns --------------------------------------------------------------------------------------------------------

NAMES = ["a.jpg", "a.png", "raw/b.jpg", "trip/raw/c.jpg", "trip/d.png", "trip/keep.png"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["*.png"], ["a.jpg", "raw/b.jpg", "trip/raw/c.jpg"]),
        (["*.png", "!keep.png"], ["a.jpg", "raw/b.jpg", "trip/keep.png", "trip/raw/c.jpg"]),
        (["/raw/"], ["a.jpg", "a.png", "trip/d.png", "trip/keep.png", "trip/raw/c.jpg"]),
        (["raw/"], ["a.jpg", "a.png", "trip/d.png", "trip/keep.png"]),
        (["trip/*.png", "# a comment", ""], ["a.jpg", "a.png", "raw/b.jpg", "trip/raw/c.jpg"]),
        (["trip/**"], ["a.jpg", "a.png", "raw/b.jpg"]),
        (["trip/", "!trip/keep.png"], ["a.jpg", "a.png", "raw/b.jpg"]),  # as in git: its folder is excluded
    ],
)
def test_patterns_exclude_as_in_git(patterns: list[str], expected: list[str], tmp_path: Path) -> None:
    touch(tmp_path, *NAMES)
    assert taken(tmp_path, exclude=patterns) == expected
    (tmp_path / ".imagesearchignore").write_text("\n".join(patterns), encoding="utf-8")
    assert taken(tmp_path) == expected
    assert findings_of(tmp_path).notes[0].startswith("excluded files and folders: ")


def test_deeper_ignore_files_come_first_and_options_before_all(tmp_path: Path) -> None:
    touch(tmp_path, *NAMES)
    (tmp_path / ".imagesearchignore").write_text("*.png\n")
    (tmp_path / "trip/.imagesearchignore").write_text("!d.png\n/raw\n")
    assert taken(tmp_path) == ["a.jpg", "raw/b.jpg", "trip/d.png"]
    assert taken(tmp_path, exclude=["d.png", "!a.png"]) == ["a.jpg", "a.png", "raw/b.jpg"]


def test_a_malformed_pattern_is_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    with pytest.raises(InputError, match="--exclude: "):
        open_source(tmp_path, exclude=["!"])


def test_a_bucket_leaves_out_the_same_as_a_disk(bucket: str, tmp_path: Path) -> None:
    filesystem = fsspec.filesystem("memory")
    touch(tmp_path, *NAMES, "x.mov", *LEFT_OUT)
    (tmp_path / "trip/.imagesearchignore").write_text("!d.png\n/raw\n")
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        filesystem.pipe(f"/bucket/{path.relative_to(tmp_path)}", path.read_bytes() or b"x")
    options = {"exclude": ["a.*"]}
    rows = rows_of(bucket, **options)
    assert [row.path.removeprefix(f"{bucket}/") for row in rows] == taken(tmp_path, **options)
    assert findings_of(bucket, **options).notes == findings_of(tmp_path, **options).notes
    assert [row.path for row, _ in findings_of(bucket).unsupported] == [f"{bucket}/x.mov"]


# --- Linked folders --------------------------------------------------------------------------------------------------


def test_a_linked_folder_is_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "far/b.jpg", "far/sub/c.jpg")
    (tmp_path / "in/1").symlink_to(tmp_path / "far")
    (tmp_path / "in/2").symlink_to("../far")
    (tmp_path / "in/3").symlink_to(tmp_path / "far/sub")
    assert taken(tmp_path / "in") == ["a.jpg", "1/b.jpg", "1/sub/c.jpg"]


def test_a_folder_inside_keeps_its_own_path_whatever_links_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "in/b/a.jpg", "in/.store/c.jpg")
    (tmp_path / "in/a").symlink_to("b")
    (tmp_path / "in/c").symlink_to(".store")  # its target would be left out under its own name
    assert taken(tmp_path / "in") == ["b/a.jpg", "c/c.jpg"]


def test_loops_of_links_end(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/b/c.jpg", "z.jpg")
    (tmp_path / "in/b/up").symlink_to("..")
    (tmp_path / "in/self").symlink_to("self")
    (tmp_path / "in/out").symlink_to(tmp_path)
    assert taken(tmp_path / "in") == ["a.jpg", "b/c.jpg", "out/z.jpg"]


def test_a_link_that_is_excluded_is_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "far/b.jpg")
    (tmp_path / "in/1").symlink_to(tmp_path / "far")
    (tmp_path / "in/2").symlink_to(tmp_path / "far")
    assert taken(tmp_path / "in", exclude=["1"]) == ["a.jpg", "2/b.jpg"]


# --- Kinds that cannot be read, folders that cannot be listed --------------------------------------------------------


def test_kinds_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.psb", "c/d.mp4", "f.txt", ".g.mov", "h.svg", "i.exr")
    found = findings_of(tmp_path).unsupported
    assert [(os.path.relpath(row.path, tmp_path), reason) for row, reason in found] == [
        ("b.psb", "a drawing or document, which cannot be read"),
        ("h.svg", "a drawing or document, which cannot be read"),
        ("i.exr", "an image of a kind that is not supported, which cannot be read"),
        ("c/d.mp4", "a video, which cannot be read"),
    ]
    assert taken(tmp_path) == ["a.jpg"]


PACKAGES = ("pillow_heif", "rawpy", "imagecodecs")


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Act as if no optional package were installed."""
    for module in PACKAGES:
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.usefixtures("no_packages")
def test_a_kind_that_one_package_more_reads_names_that_package(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.CR2", "c/d.dng", "e.jxl", "f.HEIC")
    assert taken(tmp_path) == ["a.jpg"]
    found = findings_of(tmp_path).unsupported
    assert [(os.path.relpath(row.path, tmp_path), reason) for row, reason in found] == [
        ("b.CR2", "a RAW photo, which needs one more package: pip install rawpy"),
        ("e.jxl", "JPEG XL, which needs one more package: pip install imagecodecs"),
        ("f.HEIC", "HEIC, which needs one more package: pip install pillow-heif"),
        ("c/d.dng", "a RAW photo, which needs one more package: pip install rawpy"),
    ]


@pytest.mark.usefixtures("no_packages")
def test_a_folder_of_nothing_but_raws_is_refused_with_the_package_that_reads_them(tmp_path: Path) -> None:
    touch(tmp_path, "a.nef", "b.nef", "c.mp4")
    with pytest.raises(
        InputError, match=r"; 2 files: a RAW photo, which needs one more package: pip install rawpy; 1 f"
    ):
        open_source(tmp_path)


def test_a_kind_whose_package_is_installed_is_taken(tmp_path: Path) -> None:
    for module in PACKAGES:
        pytest.importorskip(module, reason="an extra")
    touch(tmp_path, "a.jpg", "b.CR2", "c/d.dng", "e.jxl", "f.HEIC")
    assert taken(tmp_path) == ["a.jpg", "b.CR2", "e.jxl", "f.HEIC", "c/d.dng"]
    assert findings_of(tmp_path).unsupported == []


def test_a_raw_beside_a_jpeg_of_the_same_name_is_left_out_and_counted(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="RAW is an extra: pip install rawpy")
    touch(
        tmp_path,
        "a.jpg",
        "a.CR2",
        "a.dng",
        "b.nef",
        "b.png",
        "c.arw",
        "sub/c.jpeg",
        "d.raf",
        ".d.jpg",
        "e.orf",
        "e.jpg",
    )
    expected = ["a.jpg", "b.nef", "b.png", "c.arw", "d.raf", "e.orf", "sub/c.jpeg"]
    assert taken(tmp_path, exclude=["e.jpg"]) == expected
    assert findings_of(tmp_path, exclude=["e.jpg"]).notes[-1] == "RAW photos left out beside a JPEG of the same name: 2"


@pytest.mark.usefixtures("no_packages")
def test_a_raw_beside_its_jpeg_is_no_file_that_cannot_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.CR2")
    found = findings_of(tmp_path)
    assert (found.unsupported, found.notes) == ([], ["RAW photos left out beside a JPEG of the same name: 1"])


def test_each_shard_names_its_own_part_of_the_kinds_that_cannot_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", *(f"{number}.mov" for number in range(30)))
    parts = [[row.path for row, _ in findings_of(tmp_path, shard=Shard(n, 3)).unsupported] for n in (1, 2, 3)]
    assert all(parts)
    assert sorted(path for part in parts for path in part) == sorted(map(str, tmp_path.glob("*.mov")))


_SHOW = """
import sys
from pipelines.errors import InputError
from pipelines.sources import open_source
try:
    source = open_source(sys.argv[1])
    print(source.total, source.findings.unlisted)
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("setpriv"), reason="drops root's rights by setpriv")
@pytest.mark.parametrize(("locked", "words"), [("in/locked", "1 {'ROOT/in/locked': "), ("in", "ROOT/in cannot be ")])
def test_a_folder_that_cannot_be_listed_is_named(locked: str, words: str, tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/locked/b.jpg")
    (tmp_path / locked).chmod(0)
    ordinary = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    command = [*ordinary, sys.executable, "-c", _SHOW, str(tmp_path / "in")]
    done = subprocess.run(command, capture_output=True, text=True, env=program_env(), timeout=60)
    (tmp_path / locked).chmod(0o755)
    assert done.stdout.replace(str(tmp_path), "ROOT").startswith(words), done.stderr
    assert "Permission denied" in done.stdout
