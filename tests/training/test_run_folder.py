"""The folder of a training run, and the folder of the model that it wrote."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch

from pipelines.errors import InputError, ModelError
from pipelines.models.clip import load_model
from pipelines.models.registry import get_model
from pipelines.training.run_folder import draw_curves
from pipelines.training.train import train
from tests.support.program import run_code
from tests.support.training import short_run, weights_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.long
def test_other_options_are_refused_until_restart(few: Path, tiny: Path, tmp_path: Path) -> None:
    wanted = short_run(few, tmp_path / "out", model=str(tiny), epochs=1)
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


@pytest.mark.long
@pytest.mark.parametrize(("name", "value"), [("model", "out"), ("model", "link"), ("weights", "out/model.safetensors")])
def test_the_model_that_is_trained_is_not_written_over(
    few: Path, tiny: Path, tmp_path: Path, name: str, value: str
) -> None:
    wanted = short_run(few, tmp_path / "out", model=str(tiny), epochs=1)
    train(wanted)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    before = weights_of(tmp_path / "out")
    for restart in (False, True):
        with pytest.raises(InputError, match=rf"is the folder of --{name}: name another folder"):
            train(dataclasses.replace(wanted, **{name: str(tmp_path / value)}), restart=restart)
    after = weights_of(tmp_path / "out")
    assert all(torch.equal(after[key], before[key]) for key in before)


# Runs `train --restart` again and again, each time in a fork that exits abruptly, as by kill -9, before a change to the
# files or folders of the run. Each fork makes one change more than the fork before.
KILLED = """
import itertools, json, os, shutil, sys
from pathlib import Path
from pipelines.models.registry import get_model
from pipelines.models.fingerprint import sha256_of
from pipelines.training import train as training
from tests.support.training import short_run

csv, place, model = sys.argv[1:]

def killing(function, left):
    def call(*arguments, **options):
        if str(arguments[0]).startswith(place) and next(left) == 0:
            os._exit(9)
        return function(*arguments, **options)
    return call

def run(number):
    left = itertools.count(-number)
    os.replace, os.unlink, os.mkdir = (killing(one, left) for one in (os.replace, os.unlink, os.mkdir))
    shutil.rmtree = killing(shutil.rmtree, left)
    training.score = lambda figures, counter=itertools.count(): next(counter)  # the trained epoch is the best
    training.train(short_run(Path(csv), Path(place), model=model, epochs=1, seed=1, checkpoint_every=99), restart=True)
    os._exit(0)

for number in itertools.count():
    if (child := os.fork()) == 0:
        run(number)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    spec = get_model(place)
    usable = sha256_of(spec.weights.path) == spec.weights.sha256
    print(json.dumps([status, usable, spec.weights.sha256]), flush=True)
    if status != 9:
        break
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_restart_that_is_killed_anywhere_leaves_a_usable_model(few: Path, tiny: Path, tmp_path: Path) -> None:
    """The folder always holds the old model or the new one, and the last run ends as if nothing had been killed."""
    place = str(tmp_path / "out")
    train(short_run(few, Path(place), model=str(tiny), epochs=1))
    done = run_code(KILLED, few, place, tiny, env={"OMP_NUM_THREADS": "1"}, timeout=250)
    runs = [json.loads(line) for line in done.out.splitlines()]
    assert [status for status, _, _ in runs] == [9] * (len(runs) - 1) + [0], done.err
    assert all(usable for _, usable, _ in runs)
    assert len({sha256 for _, _, sha256 in runs}) == 2
    assert len(runs) > 12
    assert sorted(os.listdir(place)) == ["learning-curves.png", "model.json", "model.safetensors"]


def test_the_curves_show_the_figure_that_chose_the_epoch_on_whole_epochs() -> None:
    figures = [{"caption → image recall@1": value} for value in (0.1, 0.3, 0.2)]
    history = [
        {"epoch": epoch, "loss": 1.0, "score": (0.25, 0.5, 0.75)[epoch], "figures": figure}
        for epoch, figure in enumerate(figures)
    ]
    loss, held_out = draw_curves(history, 2).axes
    chosen = next(line for line in held_out.lines if "chooses" in str(line.get_label()))
    assert list(chosen.get_ydata()) == [25, 50, 75]
    for axes in (loss, held_out):
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


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
