"""`python -m pipelines train`: learns, resumes bit for bit, and each option does what it says."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import InputError, ModelError
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.options import EvaluateOptions
from pipelines.models.clip import load_model
from pipelines.models.registry import BUILTIN, get_model
from pipelines.models.spec import ModelSpec, Weights, card_values, model_values
from pipelines.models.towers import build_network
from pipelines.training.data_loader import Batch, DataLoader
from pipelines.training.dataset import number_texts, read_images, split
from pipelines.training.model import MAX_LOGIT_SCALE, contrastive_loss, head_names, interpolate, tower_of
from pipelines.training.options import CONFIGS, TrainOptions
from pipelines.training.train import train
from pipelines.training.trainer import Trainer, rate_at
from tests.support.models import VIT, random_network, save
from tests.support.photos import write_csv
from tests.support.program import program_env

COLOURS = {"teal": (0, 128, 128), "maroon": (128, 0, 0), "ochre": (204, 119, 34), "lilac": (200, 162, 200)}
SHAPES = ("disc", "bar", "frame", "wedge")


pytestmark = pytest.mark.usefixtures("one_thread")


def draw(path: Path, colour: str, shape: str, random: np.random.Generator) -> None:
    """A coloured shape somewhere on grey."""
    image = Image.new("RGB", (64, 64), tuple(int(v) for v in random.integers(90, 160, 3)))
    left, top = (int(v) for v in random.integers(4, 20, 2))
    box, pen = (left, top, left + 38, top + 38), ImageDraw.Draw(image)
    fill = COLOURS[colour]
    if shape == "disc":
        pen.ellipse(box, fill=fill)
    elif shape == "bar":
        pen.rectangle((left, top + 14, left + 38, top + 24), fill=fill)
    elif shape == "frame":
        pen.rectangle(box, outline=fill, width=7)
    else:
        pen.polygon([(left, top + 38), (left + 19, top), (left + 38, top + 38)], fill=fill)
    image.save(path, quality=92)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 images of 16 combinations, two captions each in rows of their own, and a file that is no image."""
    random, folder = np.random.default_rng(5), tmp_path_factory.mktemp("drawn")
    rows = [["broken.jpg", "a teal disc"]]
    (folder / "broken.jpg").write_bytes(b"nothing")
    for number in range(160):
        colour, shape = list(COLOURS)[number % 4], SHAPES[number // 4 % 4]
        draw(folder / f"{number}.jpg", colour, shape, random)
        rows += [[f"{number}.jpg", f"a {colour} {shape}"], [f"{number}.jpg", f"{shape} in {colour} on grey"]]
    return write_csv(folder / "captions.csv", ["path", "caption"], rows)


@pytest.fixture(scope="module")
def few(drawn: Path) -> Path:
    """The first 48 images with one caption each."""
    rows = [line.split(",") for line in drawn.read_text().splitlines()[2:98:2]]
    return write_csv(drawn.with_name("few.csv"), ["path", "caption"], rows)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT as OpenAI builds them, with random weights, in a folder as `train` leaves it."""
    folder = tmp_path_factory.mktemp("tiny")
    save(random_network(VIT), folder / "model.safetensors")
    spec = ModelSpec("tiny", VIT, Weights(""), "none")
    (folder / "model.json").write_text(json.dumps({**card_values(spec), "sha256": "", "licence": "none"}))
    return folder


def options(csv: Path, out: Path, **changes: object) -> TrainOptions:
    """A short run."""
    values = {"epochs": 2, "batch": 12, "lr": 1e-3, "holdout": 0.2, "checkpoint_every": 1, "precision": "fp32"}
    return TrainOptions(str(csv), str(out), **{**values, **changes})  # type: ignore[arg-type]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_builtin_learns_what_it_is_shown_and_is_searched_with(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = options(
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
    """Insert and search with `./mine`; without --model; after the folder was moved."""
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


def test_a_killed_run_ends_with_the_same_weights_bit_for_bit(few: Path, tiny: Path, tmp_path: Path) -> None:
    changes = {"epochs": 6, "batch": 6, "accumulate": 2, "augment": "strong", "unfreeze_after": 1}
    wanted = options(few, tmp_path / "whole", model=str(tiny), checkpoint_every=2, **changes)
    train(wanted)
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
    train(dataclasses.replace(wanted, out=str(broken)))
    one, other = weights_of(tmp_path / "whole"), weights_of(broken)
    assert all(torch.equal(one[name], other[name]) for name in one)


def _wait_for_checkpoints(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Returns once so many new ones were written."""
    deadline = time.monotonic() + 60
    seen = path.stat().st_mtime_ns if path.exists() else 0
    while count:
        assert time.monotonic() < deadline
        assert process.poll() is None
        stamp = path.stat().st_mtime_ns if path.exists() else 0
        count, seen = count - (stamp != seen), stamp
        time.sleep(0.002)


def test_measured_on_a_csv_of_its_own(few: Path, tiny: Path, tmp_path: Path) -> None:
    """An image that both CSVs list is only measured on."""
    rows = [[f"{number}.jpg", f"image {number}"] for number in range(40, 60)]  # the first eight are in the other, too
    apart = write_csv(few.with_name("apart.csv"), ["path", "caption"], rows)
    card = train(options(few, tmp_path / "out", model=str(tiny), epochs=1, validation=str(apart))).card
    assert card is not None
    assert card["images"] == {"trained": 40, "held_out": 20}


@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_frozen_tower_stays_and_the_other_moves(few: Path, tiny: Path, tmp_path: Path, tower: str) -> None:
    train(options(few, tmp_path / "out", model=str(tiny), freeze=tower, wise_ft=1.0, accumulate=2, epochs=1))
    before, after = weights_of(tiny), weights_of(tmp_path / "out")
    for name, tensor in before.items():
        if tower_of(name) == tower:
            assert torch.equal(after[name], tensor), name
    moved = [name for name in before if not torch.equal(after[name], before[name])]
    assert {tower_of(name) for name in moved} == {"", "image" if tower == "text" else "text"}


def test_only_heads_move_before_the_thaw(few: Path, tiny: Path, tmp_path: Path) -> None:
    train(options(few, tmp_path / "out", model=str(tiny), unfreeze_after=1, wise_ft=1.0, epochs=1))
    before, after = weights_of(tiny), weights_of(tmp_path / "out")
    moved = {name for name in before if not torch.equal(after[name], before[name])}
    heads = set(head_names(random_network(VIT)))
    assert moved <= heads
    assert {"visual.proj", "text_projection"} <= moved
    assert not any("resblocks.0" in name for name in heads)


def test_wise_ft_mixes_and_zero_is_the_start(few: Path, tiny: Path, tmp_path: Path) -> None:
    train(options(few, tmp_path / "zero", model=str(tiny), wise_ft=0.0, epochs=1))
    start = weights_of(tiny)
    zero = weights_of(tmp_path / "zero")
    assert all(torch.equal(zero[name], start[name]) for name in start)
    mixed = interpolate({"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}, 0.25)
    assert mixed["w"].item() == pytest.approx(1.5)


def _trainer(tiny: Path, batch: int, accumulate: int, **changes: object) -> Trainer:
    spec = get_model(str(tiny))
    wanted = TrainOptions("", "", "m", batch=batch, accumulate=accumulate, lr=1e-3, **changes)  # type: ignore[arg-type]
    trainer = Trainer(build_network(spec, tiny / "model.safetensors"), spec, wanted.resolved(), "cpu", torch.float32)
    trainer.begin_epoch(0)
    return trainer


def _batch(count: int) -> Batch:
    random = np.random.default_rng(1)
    tokens = np.zeros((count, 6), np.int64)
    tokens[:, 0], tokens[:, 1:4], tokens[:, 4] = 49406, random.integers(300, 9000, (count, 3)), 49407
    pixels = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Batch(pixels, tokens, np.eye(count, dtype=bool))


def test_accumulation_gives_the_gradient_of_the_whole_batch(tiny: Path) -> None:
    gradients = []
    for size, parts in ((8, 1), (2, 4)):
        trainer = _trainer(tiny, size, parts)
        loss = trainer._backward(_batch(8))
        gradients.append((loss, {n: p.grad for n, p in trainer.network.named_parameters()}))
    (loss, whole), (again, cached) = gradients
    assert loss == pytest.approx(again, rel=1e-5)
    for name, gradient in whole.items():
        assert gradient is not None
        scale = max(1e-6, float(gradient.abs().max()))
        assert torch.allclose(gradient, cached[name], atol=2e-3 * scale), name


def test_equal_texts_and_equal_labels_are_relevant(tmp_path: Path) -> None:
    rows = [["a.jpg", "A dog", ""], ["b.jpg", "a  dog", "cat"], ["c.jpg", "", "cat"], ["a.jpg", "two dogs", ""]]
    images = read_images(str(write_csv(tmp_path / "t.csv", ["path", "caption", "label"], rows)))
    assert [image.captions for image in images] == [["A dog", "two dogs"], ["a dog"], []]
    texts = number_texts(images, ("a photo of a {}", "a {}"), 77)
    assert texts.choices == [[0, 1], [0, 2], [2]]
    assert len(texts.rows[2]) == 2
    loader = DataLoader(np.zeros((3, 8, 8, 3), np.uint8), np.arange(3), texts, 3, seed=1)
    first = loader._gather(np.arange(3), np.array([[0.1, 0], [0.1, 0], [0, 0.9]]))
    assert first.relevant.tolist() == [[True, True, False], [True, True, True], [False, False, True]]
    one, two = torch.eye(3)[[0, 0, 1]], torch.eye(3)[[0, 0, 1]]
    right = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    alike = contrastive_loss(one, two, right, torch.tensor(50.0))
    assert alike == pytest.approx(2 / 3 * np.log(2), abs=1e-3)


def test_the_temperature_is_clamped_and_gains_do_not_decay(tiny: Path) -> None:
    trainer = _trainer(tiny, 8, 1)
    trainer.network.logit_scale.data.fill_(9.0)
    trainer.step(_batch(8), 1e-4)
    assert trainer.network.logit_scale.item() <= MAX_LOGIT_SCALE + 1e-6
    decayed, kept = trainer.optimiser.param_groups
    assert decayed["weight_decay"] == 0.1
    assert kept["weight_decay"] == 0
    assert all(parameter.dim() >= 2 for parameter in decayed["params"])
    assert any(parameter is trainer.network.ln_final.weight for parameter in kept["params"])


def test_rate_rises_and_falls() -> None:
    rates = [rate_at(step, 100, 10, 1.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] < 0.001


def test_copies_of_an_image_stay_on_one_side() -> None:
    groups = np.array([0, 1, 2, 0, 3, 4, 5, 0, 6, 7])
    for seed in range(20):
        training, held_out = split(groups, 0.3, seed)
        assert not set(groups[training]) & set(groups[held_out])
        assert sorted([*training, *held_out]) == list(range(10))
        assert len(held_out) >= 3


def test_patience_ends_a_run(few: Path, tiny: Path, tmp_path: Path) -> None:
    card = train(options(few, tmp_path / "out", model=str(tiny), epochs=6, lr=0.0, patience=1)).card
    assert card is not None
    assert len(card["history"]) == 3, "start, the first epoch, and one that is no better"
    assert card["best_epoch"] == 1


def test_bf16_and_labels_and_from_scratch(few: Path, tmp_path: Path) -> None:
    sizes = {**card_values(ModelSpec("s", VIT, Weights(""), "")), "activation": "gelu"}
    (tmp_path / "small.json").write_text(json.dumps(sizes))
    rows = [[few.parent / f"{number}.jpg", list(COLOURS)[number % 4]] for number in range(40)]
    labels = write_csv(tmp_path / "labels.csv", ["path", "label"], rows)
    wanted = options(
        labels, tmp_path / "out", from_scratch=True, config=str(tmp_path / "small.json"), precision="bf16", epochs=1
    )
    card = train(wanted).card
    assert card is not None
    assert "class name → images precision@10" in card["after"]
    spec = get_model(str(tmp_path / "out"))
    assert (spec.architecture, spec.activation) == (VIT, "gelu")
    assert all(tensor.isfinite().all() for tensor in weights_of(tmp_path / "out").values())


def test_the_configuration_of_builtin_is_that_of_builtin() -> None:
    values = model_values(json.loads((CONFIGS / "builtin.json").read_text()))
    assert values["architecture"] == BUILTIN.architecture
    assert values["activation"] == BUILTIN.activation


def test_other_options_are_refused_until_restart(few: Path, tiny: Path, tmp_path: Path) -> None:
    wanted = options(few, tmp_path / "out", model=str(tiny), epochs=1)
    train(wanted)
    other = dataclasses.replace(wanted, lr=1e-4)
    with pytest.raises(InputError, match=r"lr 0\.001 → 0\.0001.*--restart"):
        train(other)
    assert train(other, restart=True).card is not None
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="no training run made it"):
        train(dataclasses.replace(wanted, out=str(full)))
    with pytest.raises(InputError, match="no training run made it"):
        train(dataclasses.replace(wanted, out=str(full)), restart=True)
    assert (full / "letter.txt").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "--model"), ({"freeze": "both"}, "--freeze"), ({"holdout": 0.0}, "--validation"),
        ({"from_scratch": True}, "--from-scratch"), ({"wise_ft": 1.5}, "--wise-ft"), ({"batch": 1}, "--batch"),
        ({"model": "nothing"}, "no model named"), ({"templates": "a photo"}, "--templates"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used_are_refused(few: Path, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(options(few, tmp_path / "out", **{"model": "builtin", **changes}))
    assert not (tmp_path / "out").exists()


def test_damaged_model_folders_are_told(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model folder"):
        get_model(str(tmp_path / "none"))
    with pytest.raises(ModelError, match=r"holds no model\.json"):
        get_model(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    for text, reason in (("{", "describe"), ("[]", "describe"), ("{}", "sha256")):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(ModelError, match=reason):
            get_model(str(tmp_path))
    card = json.loads((tiny / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**card, "sha256": "0" * 64}))
    with pytest.raises(ModelError, match="not the file"):
        load_model(str(tmp_path))


def test_the_command_says_what_is_wrong_in_one_line(command: Callable, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.csv", ["path", "word"], [["a.jpg", "b"]])
    done = command("train", table, "--model", "builtin", "--out", tmp_path / "out")
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert "'caption' or 'label'" in done.err
