"""The command line as a user or a script meets it: output, exit status, one-line errors, environment variables."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipelines import Settings, run_insert
from pipelines.cli.collection import CopyOptions, DropOptions
from pipelines.cli.commands import group
from pipelines.cli.evaluate import EvaluateOptions, ReportOptions
from pipelines.cli.export_model import ExportModelOptions
from pipelines.cli.insert import InsertOptions
from pipelines.cli.output import print_hits
from pipelines.cli.parser import Output
from pipelines.cli.prune import PruneOptions
from pipelines.cli.search import SearchOptions
from pipelines.cli.serve import ServeOptions
from pipelines.cli.train import RunOptions, TrainOptions
from pipelines.cli.vectors import ExportOptions, ImportOptions
from pipelines.milvus.connection import close
from pipelines.search.results import Hit, Results
from pipelines.settings import read_options, value_types
from tests.support.photos import Photos, write_csv
from tests.support.program import CommandResult, run_code

Command = Callable[..., CommandResult]
OPTIONS = {
    "insert": (InsertOptions,), "search": (SearchOptions,), "serve": (ServeOptions,), "copy": (CopyOptions,),
    "evaluate": (EvaluateOptions, ReportOptions), "train": (TrainOptions, RunOptions), "drop": (DropOptions,),
    "prune": (PruneOptions,), "export": (ExportOptions,), "import": (ImportOptions,),
    "export-model": (ExportModelOptions,),
}  # fmt: skip


@pytest.fixture
def db(tmp_path: Path) -> str:
    return str(tmp_path / "search.db")


@pytest.fixture
def indexed(photos: Photos, db: str) -> str:
    run_insert(photos.csv, Settings(uri=db, model="builtin"))
    close(db)
    return db


def test_insert_prints_counts_and_the_next_step(command: Command, photos: Photos, db: str) -> None:
    done = command("insert", photos.csv, "--uri", db, "--model", "builtin")
    assert (done.status, done.err) == (0, "")
    assert "12 rows: 12 inserted, 0 updated, 0 unchanged, 0 rejected" in done.out
    assert f'next:  image-search search "a white dog" --uri {db}\n' in done.out
    assert f"image-search serve --uri {db}\n" in done.out


def test_insert_json_has_everything_a_script_needs(quick_command: Command, photos: Photos, db: str) -> None:
    done = quick_command("insert", photos.csv, "--uri", db, "--model", "builtin", "--json")
    summary = json.loads(done.out)
    assert (done.status, done.err) == (0, "")
    expected = {"rows": 12, "inserted": 12, "updated": 0, "unchanged": 0, "rejected": 0, "collection": "images"}
    assert expected.items() <= summary.items()
    assert summary["model"].startswith("builtin@")
    assert summary["seconds"] > 0
    assert summary["images_per_second"] == pytest.approx(12 / summary["seconds"], rel=0.1)


def test_rejected_rows_give_status_1_and_a_list(
    quick_command: Command, photos: Photos, db: str, tmp_path: Path
) -> None:
    photos.paths[3].write_bytes(b"broken")
    done = quick_command("insert", photos.csv, "--uri", db, "--model", "builtin")
    assert done.status == 1
    assert "the rejected images and why: rejected.csv" in done.out
    with open(tmp_path / "cwd" / "rejected.csv") as file:
        (row,) = csv.DictReader(file)
    assert (row["id"], row["path"]) == ("3", str(photos.paths[3]))
    assert row["reason"].startswith("not an image")


def test_profile_prints_seconds_per_step(quick_command: Command, photos: Photos, db: str) -> None:
    out = quick_command("insert", photos.csv, "--uri", db, "--model", "builtin", "--profile").out
    for step in ("image-decode/cv2", "image-text-embedding/clip", "towhee/np-normalize", "ann-insert/milvus-rows"):
        assert re.search(rf"{step} +\d+\.\d\d\d", out)


def test_search_prints_a_table_and_json(quick_command: Command, photos: Photos, indexed: str) -> None:
    done = quick_command("search", "a white dog", "--uri", indexed, "-k", "3")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].split() == ["rank", "id", "score", "path", "label", "year"]
    assert len(lines) == 2 + 3

    done = quick_command("search", "--image", photos.paths[6], "--uri", indexed, "-k", "2", "--json")
    first, second = json.loads(done.out)
    expected = {"rank": 1, "id": 6, "path": str(photos.paths[6]), "label": "label0", "year": 2016, "width": 96}
    assert {name: first[name] for name in expected} == expected
    assert 1 >= first["score"] > 0.999
    assert first["score"] >= second["score"]


def test_search_filters(quick_command: Command, indexed: str) -> None:
    found = quick_command("search", "dog", "--uri", indexed, "--filter", "label == 'label2' and year > 2015", "--json")
    assert {hit["id"] for hit in json.loads(found.out)} == {8, 11}
    nothing = quick_command("search", "dog", "--uri", indexed, "--filter", "year > 3000")
    assert (nothing.status, nothing.out) == (0, "nothing found\n")


def test_a_text_may_begin_with_a_minus(quick_command: Command, indexed: str) -> None:
    usual = quick_command("search", "beach -people", "--uri", indexed, "-k", "3", "--csv")
    for words in (["-people beach", "-k3"], ["-k", "3", "--", "-people beach"], ["-people", "beach", "-k", "3"]):
        done = quick_command("search", "--uri", indexed, "--csv", *words)
        assert (done.status, done.err) == (0, "")
        assert {line.split(",")[1] for line in done.out.splitlines()} == {
            line.split(",")[1] for line in usual.out.splitlines()
        }
    assert "No such option" in quick_command("search", "dog", "-q").err
    assert "No such option" in quick_command("search", "dog", "--colour").err
    assert quick_command("search", "-h").out.startswith("Usage")


def test_letters_that_the_terminals_encoding_lacks_are_escaped(command: Command, photos: Photos, db: str) -> None:
    photos.paths[0].rename(photos.folder / "日本é😀.jpg")
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = command("insert", photos.folder, "--uri", db, "--model", "builtin", env=env)
    assert (done.status, done.err) == (0, "")
    table = command("search", "dog", "--uri", db, "-k", "99", env=env)
    assert (table.status, table.err) == (0, "")
    assert r"\u65e5\u672c" in table.out
    raw = command("search", "dog", "--uri", db, "-k", "99", "--json", env={"PYTHONIOENCODING": "ascii"})
    assert str(photos.folder / "日本é😀.jpg") in {hit["path"] for hit in json.loads(raw.out)}
    wrong = command("search", "dog", "--uri", db, "--filter", "label == 日", env=env)
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)


def test_a_cache_that_cannot_be_made_costs_speed_only(quick_command: Command, photos: Photos, db: str) -> None:
    cache = {"IMAGE_SEARCH_CACHE": str(photos.paths[0] / "cache")}  # a path below a file
    done = quick_command("insert", photos.folder, "--uri", db, "--model", "builtin", env=cache)
    assert (done.status, done.err.count("\n")) == (0, 1)
    assert "name another one by IMAGE_SEARCH_CACHE" in done.err
    done = quick_command("insert", photos.folder, "--uri", db, "--model", "builtin", "--runtime", "openvino", env=cache)
    assert (done.status, done.err.count("\n")) == (3, 1)
    assert "use --runtime pytorch" in done.err


def test_a_file_that_cannot_be_written_is_named_in_one_line(quick_command: Command, photos: Photos, db: str) -> None:
    photos.paths[0].write_bytes(b"broken")
    rejects = photos.paths[1] / "rejects.csv"
    done = quick_command("insert", photos.folder, "--uri", db, "--model", "builtin", "--rejects", rejects)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert str(rejects) in done.err


def test_search_by_several_parts_and_pages(quick_command: Command, photos: Photos, indexed: str) -> None:
    asked = ["search", "2*dog -people", "--like", "3", "--image", photos.paths[6], "--weight", "3", "--uri", indexed]
    whole = json.loads(quick_command(*asked, "--json").out)
    assert whole[0]["id"] == 6
    assert 3 not in {hit["id"] for hit in whole}
    least = str(whole[4]["score"] - 1e-6)
    page = json.loads(quick_command(*asked, "--json", "--offset", "2", "-k", "5", "--min-score", least).out)
    assert page == whole[2:5]
    folded = quick_command("search", "dog " * 90, "--uri", indexed, "--fold", "0.2")
    assert folded.err.startswith("note: the model reads 75 tokens")
    assert "+11" in folded.out


def test_search_prints_csv_that_no_spreadsheet_runs(
    quick_command: Command, photos: Photos, tmp_path: Path, db: str
) -> None:
    labels = ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", 'say "x", y', "plain"]
    rows = [[path, label, -number] for number, (path, label) in enumerate(zip(photos.paths, labels, strict=False))]
    quick_command(
        "insert", write_csv(tmp_path / "c.csv", ["path", "label", "score"], rows), "--uri", db, "--model", "builtin"
    )
    out = quick_command("search", "dog", "--uri", db, "--csv", "-k", "20").out
    read = list(csv.DictReader(out.splitlines()))
    assert list(read[0])[:6] == ["rank", "id", "score", "path", "label", "column_score"]
    guarded = {label if label[0] in "sp" else "'" + label for label in labels}
    assert {row["label"] for row in read} == guarded
    assert {row["column_score"] for row in read} == {str(-number) for number in range(7)}
    assert [row["rank"] for row in read] == [str(number) for number in range(1, 8)]


def test_info_and_drop(quick_command: Command, indexed: str) -> None:
    info = json.loads(quick_command("info", "--uri", indexed, "--json").out)
    assert (info["rows"], info["dim"]) == (12, 256)
    assert info["fields"].items() >= {"label": "text", "year": "int", "width": "int"}.items()
    assert "rows       12" in quick_command("info", "--uri", indexed).out
    refused = quick_command("drop", "--uri", indexed)  # there is no terminal to say yes on
    assert refused.status == 1
    assert quick_command("info", "--uri", indexed).status == 0
    assert quick_command("drop", "--uri", indexed, "--yes").out == "removed 'images' (12 rows)\n"
    assert quick_command("info", "--uri", indexed).status == 3


def test_one_is_told_in_the_singular(quick_command: Command, photos: Photos, db: str) -> None:
    source = write_csv(Path(db).with_name("one.csv"), ["path"], [[photos.paths[0]]])
    assert "1 row: 1 inserted, " in quick_command("insert", source, "--uri", db, "--model", "builtin").out
    assert "the minimum score leaves 1 image\n" in quick_command("search", "a", "--uri", db, "--min-score=-1").err
    assert quick_command("drop", "--uri", db, "--yes").out == "removed 'images' (1 row)\n"


def test_options_come_from_the_environment(quick_command: Command, photos: Photos, db: str) -> None:
    env = {"IMAGE_SEARCH_URI": db, "IMAGE_SEARCH_MODEL": "builtin", "IMAGE_SEARCH_COLLECTION": "mine"}
    env |= {"IMAGE_SEARCH_LIMIT": "4", "IMAGE_SEARCH_JSON": "1"}
    summary = json.loads(quick_command("insert", photos.csv, env=env).out)
    assert (summary["rows"], summary["collection"]) == (4, "mine")


COMMANDS = sorted(group.commands)
# What a variable holds, and the value that it stands for.
RAW = {bool: "yes", int: "7", float: "0.5", str: "some"}
READ = {bool: True, int: 7, float: 0.5, str: "some"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_can_come_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        option.name for option in group.commands[name].params if isinstance(option, click.Option) and not option.hidden
    }
    found = set()
    for owner in (Settings, *OPTIONS.get(name, ()), Output):
        for field in dataclasses.fields(owner):
            if field.name not in options:
                continue
            found.add(field.name)
            others = {other.name: "x" for other in dataclasses.fields(owner) if other.default is dataclasses.MISSING}
            kind, many = value_types(owner)[field.name]
            with monkeypatch.context() as patch:
                patch.setenv("IMAGE_SEARCH_" + field.name.upper(), RAW[kind])
                values = read_options(owner, {**others, field.name: None})
            assert getattr(values, field.name) == ((READ[kind],) if many else READ[kind])
    assert found == options


def test_what_is_given_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_SEARCH_PORT", "1")
    monkeypatch.setenv("IMAGE_SEARCH_COLLECTION", "there")
    settings = Settings.from_env(port=2, collection=None)
    assert (settings.port, settings.collection, settings.uri) == (2, "there", "./search.db")


def test_a_wrong_variable_is_status_2_and_named(quick_command: Command) -> None:
    done = quick_command("info", env={"IMAGE_SEARCH_PORT": "high"})
    assert (done.status, done.err) == (2, "error: IMAGE_SEARCH_PORT must be a whole number, not 'high'\n")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_a_terminal_and_cuts_no_word(name: str) -> None:
    arguments = [name, "--help"] if name else ["--help"]
    text = CliRunner().invoke(group, arguments, prog_name="image-search", terminal_width=80).output
    assert text.startswith(f"Usage: image-search {name}".rstrip())
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text.replace("[TEXT]...", "").replace("[ARGS]...", "")


def test_help_is_a_manual() -> None:
    text = CliRunner().invoke(group, ["insert", "--help"]).output
    assert "Examples:" in text
    assert "--batch-size" in text


@pytest.mark.parametrize(
    ("code", "packages"),
    [
        ("import pipelines", {"pipelines"}),
        ("from pipelines.cli import main; main(['insert', '--help'])", {"pipelines", "click"}),
        ("from pipelines.cli import main; main(['serve', '--help'])", {"pipelines", "click"}),
    ],
)
def test_a_quick_start_imports_nothing_slow(code: str, packages: set[str]) -> None:
    """Start-up is quick because it imports nothing slow: only click, to print a manual."""
    shown = (
        "import sys; before = set(sys.modules)\n"
        f"try:\n    {code}\nexcept SystemExit:\n    pass\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(new - sys.stdlib_module_names))"
    )
    done = run_code(shown, timeout=60)
    assert set(done.out.splitlines()[-1].split()) == packages, done.err


def test_a_wrong_command_or_option_is_one_line_with_the_nearest(quick_command: Command) -> None:
    done = quick_command("insrt")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert "Did you mean 'insert'?" in done.err
    assert "'--collection'" in quick_command("search", "dog", "--colection", "x").err
    assert "(see `image-search search --help`)" in quick_command("search", "dog", "--ur", "x").err
    assert quick_command("train", "x.csv").err == "error: --out is missing: give it, or set IMAGE_SEARCH_OUT\n"


def test_a_table_is_as_wide_as_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "/home/someone/photographs/2024/summer/a_long_name_of_a_file_0001.jpg"
    hit = Hit(rank=1, id=42, score=0.5, path=path, fields={"label": "a rather long label " * 5, "year": 2024})
    results = Results([hit], 0.0)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_hits(results, ["label", "year"])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert path not in out
    assert out.count("label") == 6
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    print_hits(results, ["label", "year"])
    assert path in capsys.readouterr().out


def bad_csv(folder: Path, text: str) -> Path:
    path = folder / "bad.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bad.csv is empty"),
        ("id,fle\n1,a.jpg\n", "bad.csv, row 1: there is no column 'path' (the columns are: id, fle)"),
        ("id,path\n1,a.jpg\n1,b.jpg\n", "bad.csv, rows 2 and 3, column 'id': the same id 1 twice"),
        ("id,path\nseven,a.jpg\nseven,b.jpg\n", "bad.csv, rows 2 and 3, column 'id': the same id seven twice"),
    ],
)
def test_a_wrong_csv_is_status_2_one_line_and_no_work(
    quick_command: Command, db: str, tmp_path: Path, text: str, message: str
) -> None:
    done = quick_command("insert", bad_csv(tmp_path, text), "--uri", db, "--model", "builtin")
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert not Path(db).exists()


def test_wrong_usage_is_status_2(quick_command: Command, indexed: str, photos: Photos) -> None:
    assert quick_command("search", "--uri", indexed).status == 2
    assert quick_command("search", "dog", "--image", photos.paths[0], "--weight", "1", "--weight", "2").status == 2
    assert quick_command("search", "dog", "--json", "--csv", "--uri", indexed).status == 2
    assert quick_command("search", "dog", "-k", "0", "--uri", indexed).status == 2
    assert quick_command("insert").status == 2
    assert quick_command("insert", photos.csv, "--batch-size", "-1", "--uri", indexed).status == 2
    assert quick_command("insert", photos.csv, "--uri", indexed, "--model", "clip_vit_huge").status == 2
    assert quick_command("search", "dog", "--filter", "label = 1", "--uri", indexed).status == 2


def test_what_cannot_be_reached_is_status_3(quick_command: Command, photos: Photos, db: str, tmp_path: Path) -> None:
    nothing = quick_command("search", "dog", "--uri", db)
    assert nothing.status == 3
    assert f"fill it with: image-search insert CSV_OR_FOLDER --uri {db}\n" in nothing.err
    no_server = quick_command("insert", photos.csv, "--uri", "http://127.0.0.1:9", "--model", "builtin")
    assert no_server.status == 3
    assert no_server.err == "error: no Milvus answers at http://127.0.0.1:9: is it running, and is the address right?\n"
    no_weights = quick_command("insert", photos.csv, "--uri", db, "--weights", tmp_path / "none.pt")
    assert no_weights.status == 3
    assert no_weights.err == f"error: there is no weights file {tmp_path / 'none.pt'}\n"


def test_a_closed_network_names_the_file_and_where_to_put_it(quick_command: Command, photos: Photos, db: str) -> None:
    env = {"https_proxy": "http://127.0.0.1:9", "IMAGE_SEARCH_CACHE": str(photos.folder / "cache")}
    done = quick_command("insert", photos.csv, "--uri", db, env=env)
    assert done.status == 3
    line = done.err.strip().splitlines()[-1]
    assert "clip_vit_base_patch32_laion2b: cannot be downloaded (" in line
    assert "/open_clip_model.safetensors by other means" in line
    assert f"put it at {photos.folder / 'cache' / 'clip_vit_base_patch32_laion2b.safetensors'}" in line
    assert "--weights" in line
    assert "--model builtin" in line


def test_control_characters_in_fields_cannot_reach_the_terminal(
    quick_command: Command, photos: Photos, tmp_path: Path, db: str
) -> None:
    table = write_csv(tmp_path / "c.csv", ["path", "label"], [[photos.paths[0], "red\x1b[31m\x07"]])
    quick_command("insert", table, "--uri", db, "--model", "builtin")
    out = quick_command("search", "dog", "--uri", db).out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "red" in out


def test_models_lists_the_registry(quick_command: Command) -> None:
    out = quick_command("models").out
    assert "builtin" in out
    assert "clip_vit_large_patch14_336" in out
