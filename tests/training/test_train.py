"""`image-search train`: models learn, killed runs resume bit for bit, and each option has its effect."""

from __future__ import annotations

import dataclasses
import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import InputError
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.options import EvaluateOptions
from pipelines.models.registry import get_model
from pipelines.models.spec import ModelSpec, Weights, card_values
from pipelines.training.model import head_names, interpolate, tower_of
from pipelines.training.train import train
from tests.support.models import VIT, random_network
from tests.support.photos import write_csv
from tests.support.program import program_env
from tests.support.training import COLOURS, short_run, weights_of

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread")]


@pytest.mark.slow
def test_builtin_learns_what_it_is_shown_and_is_searched_with(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = short_run(
        drawn, tmp_path / "mine", model="builtin", epochs=3, batch=32, lr=5e-4, wise_ft=0.9, checkpoint_every=100
    )
    outcome = train(wanted)
    card = outcome.card
    assert card is not None
    name = "caption → image recall@5"
    assert card["after"][name] > card["before"][name] + 0.15, (card["before"], card["after"])
    assert card["images"] == {"trained": 128, "held_out": 32}
    assert outcome.rejected == 1
    assert "broken.jpg" in Path("rejected.csv").read_text()
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "learning-curves.png", "model.json", "model.safetensors",
    ]  # fmt: skip
    with Image.open(tmp_path / "mine" / "learning-curves.png") as curves:
        assert curves.format == "PNG"
    assert train(wanted).card == card, "a finished run is not run again"
    _search_with(drawn.parent, tmp_path)


def _search_with(images: Path, folder: Path) -> None:
    """Insert and search with `./mine`, then without --model, then after the folder was moved."""
    db = str(folder / "search.db")
    listed = write_csv(folder / "some.csv", ["path"], [[images / f"{number}.jpg"] for number in range(32)])
    assert run_insert(listed, Settings(uri=db, model="./mine")).inserted == 32
    searcher = Searcher(Settings(uri=db))
    assert searcher.settings.model == str(folder / "mine")
    found = searcher.by_text("a maroon disc", 4).hits
    labels = write_csv(folder / "labels.csv", ["path", "label"], [[images / f"{n}.jpg", n % 2] for n in range(32)])
    asked = EvaluateOptions(labels=str(labels), compare=("./mine", "builtin"))  # its own model is not measured twice
    own, shipped = evaluate(Settings(uri=db), asked)
    assert own.model.startswith(f"{folder / 'mine'}@")
    start = Settings(uri=str(folder / "start.db"), model="builtin")
    run_insert(listed, start)
    assert evaluate(start, asked)[1].tasks[0].figures == own.tasks[0].figures
    assert shipped.tasks[0].figures != own.tasks[0].figures
    (folder / "mine").rename(folder / "moved")
    with pytest.raises(InputError, match="say where it is now: --model"):
        Searcher(Settings(uri=db)).by_text("a maroon bar")
    moved = Settings(uri=db, model="./moved")
    assert [hit.id for hit in Searcher(moved).by_text("a maroon disc", 4).hits] == [hit.id for hit in found]
    assert run_insert(listed, moved).unchanged == 32


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_weights_bit_for_bit(few: Path, tiny: Path, tmp_path: Path) -> None:
    changes = {"epochs": 6, "batch": 6, "accumulate": 2, "augment": "strong", "unfreeze_after": 1}
    wanted = short_run(few, tmp_path / "whole", model=str(tiny), checkpoint_every=2, **changes)
    whole = train(wanted).card
    arguments = ["train", few, "--model", tiny, "--holdout", 0.2, "--lr", "1e-3", "--precision", "fp32"]
    arguments += [part for name, value in changes.items() for part in (f"--{name.replace('_', '-')}", value)]
    broken = tmp_path / "broken"
    command = [sys.executable, "-m", "pipelines", *map(str, arguments), "--checkpoint-every", "2", "--out", str(broken)]
    for kill, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        process = subprocess.Popen(command, cwd=tmp_path, env=program_env({"OMP_NUM_THREADS": "1"}))
        _wait_for_checkpoints(broken / "work" / "checkpoint.pt", 2, process)
        process.send_signal(kill)
        assert process.wait(60) == status
        assert not (broken / "model.json").exists()
    continued = train(dataclasses.replace(wanted, out=str(broken))).card
    assert whole is not None
    assert continued is not None
    assert whole["best_epoch"] > 0
    assert continued["history"] == whole["history"]
    one, other = weights_of(tmp_path / "whole"), weights_of(broken)
    assert all(torch.equal(one[name], other[name]) for name in one)


def _wait_for_checkpoints(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Return once this many new checkpoints were written."""
    deadline = time.monotonic() + 60
    seen = path.stat().st_mtime_ns if path.exists() else 0
    while count:
        assert time.monotonic() < deadline
        assert process.poll() is None
        stamp = path.stat().st_mtime_ns if path.exists() else 0
        count, seen = count - (stamp != seen), stamp
        time.sleep(0.002)


def test_measured_on_a_csv_of_its_own(few: Path, tiny: Path, tmp_path: Path) -> None:
    """An image that both CSVs list is used for measuring only."""
    rows = [[f"{number}.jpg", f"image {number}"] for number in range(40, 60)]  # the other CSV has the first eight, too
    apart = write_csv(few.with_name("apart.csv"), ["path", "caption"], rows)
    card = train(short_run(few, tmp_path / "out", model=str(tiny), epochs=1, validation=str(apart))).card
    assert card is not None
    assert card["images"] == {"trained": 40, "held_out": 20}


@pytest.fixture
def _last_epoch_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the last epoch the best one, so that its weights are written, whatever it is worth on a few drawings."""
    scores = itertools.count()
    monkeypatch.setattr("pipelines.training.train.score", lambda figures: next(scores))


@pytest.mark.usefixtures("_last_epoch_is_best")
@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_frozen_tower_stays_and_the_other_moves(few: Path, tiny: Path, tmp_path: Path, tower: str) -> None:
    train(short_run(few, tmp_path / "out", model=str(tiny), freeze=tower, wise_ft=1.0, accumulate=2, epochs=1))
    before, after = weights_of(tiny), weights_of(tmp_path / "out")
    for name, tensor in before.items():
        if tower_of(name) == tower:
            assert torch.equal(after[name], tensor), name
    moved = [name for name in before if not torch.equal(after[name], before[name])]
    assert {tower_of(name) for name in moved} == {"", "image" if tower == "text" else "text"}


@pytest.mark.usefixtures("_last_epoch_is_best")
def test_only_heads_move_before_the_thaw(few: Path, tiny: Path, tmp_path: Path) -> None:
    train(short_run(few, tmp_path / "out", model=str(tiny), unfreeze_after=1, wise_ft=1.0, epochs=1))
    before, after = weights_of(tiny), weights_of(tmp_path / "out")
    moved = {name for name in before if not torch.equal(after[name], before[name])}
    heads = set(head_names(random_network(VIT)))
    assert moved <= heads
    assert {"visual.proj", "text_projection"} <= moved
    assert not any("resblocks.0" in name for name in heads)


@pytest.mark.usefixtures("_last_epoch_is_best")
def test_wise_ft_mixes_and_zero_is_the_start(few: Path, tiny: Path, tmp_path: Path) -> None:
    train(short_run(few, tmp_path / "zero", model=str(tiny), wise_ft=0.0, epochs=1))
    start = weights_of(tiny)
    zero = weights_of(tmp_path / "zero")
    assert all(torch.equal(zero[name], start[name]) for name in start)
    mixed = interpolate({"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}, 0.25)
    assert mixed["w"].item() == pytest.approx(1.5)


@pytest.mark.slow
def test_a_run_that_only_harmed_keeps_the_start_and_says_so(
    few: Path, tiny: Path, tmp_path: Path, command: Callable
) -> None:
    arguments = ("train", few, "--model", tiny, "--lr", 5, "--wise-ft", 1, "--epochs", 2, "--holdout", 0.2)
    done = command(*arguments, "--out", tmp_path / "out")
    assert (done.status, "no epoch was better than the start" in done.out) == (4, True), done
    start, kept = weights_of(tiny), weights_of(tmp_path / "out")
    assert all(torch.equal(kept[name], start[name]) for name in start)
    card = json.loads((tmp_path / "out" / "model.json").read_text())
    assert card["best_epoch"] == 0
    assert card["before"] == card["history"][0]["figures"]
    assert card["after"] in [entry["figures"] for entry in card["history"][1:]]
    again = command(*arguments, "--out", tmp_path / "out", "--json")
    assert (again.status, json.loads(again.out)["best_epoch"]) == (4, 0)


def test_a_run_that_diverges_writes_no_nan(few: Path, tiny: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("pipelines.training.trainer._MAX_NORM", float("nan"))  # every weight becomes NaN
    card = train(short_run(few, tmp_path / "out", model=str(tiny), wise_ft=1.0)).card
    assert card is not None
    assert card["best_epoch"] == 0
    assert card["history"][2]["loss"] is None
    json.loads((tmp_path / "out" / "model.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("column", ["label", "caption"])
def test_images_that_are_all_of_one_text_measure_nothing(few: Path, tiny: Path, tmp_path: Path, column: str) -> None:
    table = write_csv(few.with_name("one.csv"), ["path", column], [[f"{number}.jpg", "a cat"] for number in range(20)])
    with pytest.raises(InputError, match="of one class and have no captions that differ"):
        train(short_run(table, tmp_path / "out", model=str(tiny)))


def test_copies_of_one_image_measure_nothing(few: Path, tiny: Path, tmp_path: Path) -> None:
    copies = [[f"copy{number}.jpg", f"caption {number}"] for number in range(2)]
    for name, _ in copies:
        few.with_name(name).write_bytes(few.with_name("0.jpg").read_bytes())
    apart = write_csv(few.with_name("copies.csv"), ["path", "caption"], copies)
    with pytest.raises(InputError, match="two different ones of each"):
        train(short_run(few, tmp_path / "other", model=str(tiny), validation=str(apart)))


def test_odd_ids_are_no_error(few: Path, tiny: Path, tmp_path: Path) -> None:
    ids = ["²", "+-5", "٣", "9" * 30, "9" * 5000, "1_000", "", "SKU-1"]
    rows = [[ids[number % len(ids)], f"{number}.jpg", f"caption {number}"] for number in range(16)]
    table = write_csv(few.with_name("ids.csv"), ["id", "path", "caption"], rows)
    assert train(short_run(table, tmp_path / "out", model=str(tiny), epochs=1, batch=4)).card is not None


def test_patience_ends_a_run(few: Path, tiny: Path, tmp_path: Path) -> None:
    card = train(short_run(few, tmp_path / "out", model=str(tiny), epochs=6, lr=0.0, patience=1)).card
    assert card is not None
    assert len(card["history"]) == 2, "the start, and one epoch that is no better"
    assert card["best_epoch"] == 0


@pytest.mark.usefixtures("_last_epoch_is_best")
def test_bf16_and_labels_and_from_scratch(few: Path, tmp_path: Path) -> None:
    sizes = {**card_values(ModelSpec("s", VIT, Weights(""), "")), "activation": "gelu"}
    (tmp_path / "small.json").write_text(json.dumps(sizes))
    rows = [[few.parent / f"{number}.jpg", list(COLOURS)[number % 4]] for number in range(40)]
    labels = write_csv(tmp_path / "labels.csv", ["path", "label"], rows)
    wanted = short_run(
        labels, tmp_path / "out", from_scratch=True, config=str(tmp_path / "small.json"), precision="bf16", epochs=1
    )
    card = train(wanted).card
    assert card is not None
    assert "class name → images precision@10" in card["after"]
    spec = get_model(str(tmp_path / "out"))
    assert (spec.architecture, spec.activation) == (VIT, "gelu")
    assert all(tensor.isfinite().all() for tensor in weights_of(tmp_path / "out").values())


def test_the_command_says_what_is_wrong_in_one_line(command: Callable, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.csv", ["path", "word"], [["a.jpg", "b"]])
    done = command("train", table, "--model", "builtin", "--out", tmp_path / "out")
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert "'caption' or 'label'" in done.err
