"""Model folders and weights files that would take all memory, or never end, are refused in one line with status 3."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks.hostile_models import make
from pipelines.errors import ModelError
from pipelines.models.architecture import Architecture
from pipelines.models.checkpoints import load_state_dict
from pipelines.models.model_folder import read_folder
from pipelines.models.networks import build_network
from pipelines.models.registry import get_model
from tests.support.models import VIT, random_network, spec_of
from tests.support.program import program_env

CARD: dict[str, Any] = {
    "sha256": "0" * 64, "licence": "MIT", "activation": "gelu", "mean": [0.5] * 3, "std": [0.5] * 3,
    "architecture": VIT.values(),
}  # fmt: skip


def folder_with(folder: Path, card: object) -> Path:
    """Write a model folder whose card is this text, or this value as JSON."""
    (folder / "model.json").write_text(card if isinstance(card, str) else json.dumps(card))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    "card",
    ["[" * 100_000, '{"a":' * 100_000, "[]", "5", "null", '"x"', '{"architecture": 1e999}', {**CARD, "std": "abc"},
     {**CARD, "mean": [1e999, 0, 0]}, {**CARD, "architecture": {}}, {**CARD, "architecture": {**VIT.values(), "x": 1}}],
    ids=range(11),
)  # fmt: skip
def test_a_card_that_describes_no_model_is_one_line(tmp_path: Path, card: object) -> None:
    with pytest.raises(ModelError, match=r"model\.json does not describe a model") as raised:
        read_folder(folder_with(tmp_path, card))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [name for name in VIT.values() if name != "vision_patch_size"])
@pytest.mark.parametrize("size", [10**6 * 2, 10**12, 10**400, -5, 1.5, "7", None, True, {}])
def test_sizes_of_no_model_are_refused_before_anything_is_built(tmp_path: Path, name: str, size: object) -> None:
    card = {**CARD, "architecture": {**VIT.values(), name: size}}
    with pytest.raises(ModelError, match="does not describe a model"):
        read_folder(folder_with(tmp_path, card))


@pytest.mark.parametrize(
    "sizes",
    [{"vision_width": 2**20, "transformer_width": 2**20, "vision_layers": 500}, {"image_resolution": 512},
     {"vision_patch_size": 2**20}, {"vision_layers": (1, 1)},
     {"vocab_size": 2**20, "transformer_width": 2**20}, {"context_length": 8192}],
    ids=str,
)  # fmt: skip
def test_sizes_that_the_tensors_have_not_allocate_nothing(tmp_path: Path, sizes: dict[str, int]) -> None:
    """Built in full, the first of these would take 16 petabytes."""
    path = tmp_path / "w.pt"
    torch.save(random_network(VIT).state_dict(), path)
    spec = spec_of(Architecture(**{**VIT.values(), **sizes}))
    with pytest.raises(ModelError, match=r"missing or of another size|sizes of which no network can be made"):
        build_network(spec, path)


@pytest.mark.parametrize(
    "values",
    [{"hidden_size": 10**9}, {"num_hidden_layers": 10**9}, {"num_attention_heads": 0}, {"hidden_size": "x"},
     {"vocab_size": None}, {"image_size": 1e999}],
    ids=str,
)  # fmt: skip
def test_a_repository_with_such_sizes_is_one_line(tmp_path: Path, values: dict[str, object]) -> None:
    config = {"model_type": "clip", "projection_dim": 512, "text_config": values, "vision_config": values}
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError) as raised:
        build_network(get_model(str(tmp_path)), tmp_path / "pytorch_model.bin")
    assert "\n" not in str(raised.value)


def test_a_repository_that_is_nested_too_deeply_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    (tmp_path / "model.safetensors").write_bytes(b"")
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "insert", str(tmp_path), "--model", str(tmp_path), "--uri", "x.db"],
        cwd=tmp_path, env=program_env(), capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr


def load(model: str) -> None:
    spec = get_model(model)
    build_network(spec, spec.weights.path or Path())


@pytest.mark.long
def test_every_hostile_model_is_one_line(tmp_path: Path) -> None:
    """`make attack` loads each of them by a command, and measures its memory and time."""
    for name, options in make(tmp_path).items():
        with pytest.raises(ModelError) as raised:
            load(options[1])
        assert "\n" not in str(raised.value), name
    assert not (tmp_path / "stolen").exists()


@pytest.mark.parametrize(
    "sizes",
    [{"image_resolution": 8192, "vision_patch_size": 256}, {"image_resolution": 2048}, {"context_length": 8193}],
    ids=str,
)  # fmt: skip
def test_sizes_are_bounded_though_the_tensors_have_them(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"is the size of no model|too many patches"):
        Architecture(**{**VIT.values(), **sizes})


@pytest.mark.parametrize("name", ["model.json", "config.json"])
def test_a_configuration_of_many_megabytes_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with open(tmp_path / name, "wb") as file:
        file.truncate(2**40)  # sparse: it takes no disk space, and fits in no memory
    with pytest.raises(ModelError, match="more than 16 MB"):
        get_model(str(tmp_path))


@pytest.mark.parametrize("heads", [{"transformer_heads": 7}, {"transformer_heads": 0}, {"vision_heads": 7}], ids=str)
def test_heads_that_do_not_divide_the_width_are_refused(heads: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="heads"):
        Architecture(**{**VIT.values(), **heads})


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [({"a": torch.zeros(1, dtype=torch.float16).expand(10**6, 10**6)}, "its tensors claim"),
     ({"a": torch.zeros(5).to_sparse()}, "not all there"),
     ({"a": torch.zeros(5, device="meta")}, "not all there"),
     ({"a": torch.zeros(99, 1, dtype=torch.int8), "a.scale": torch.zeros(1, 99)}, "does not fit")],
)  # fmt: skip
def test_few_bytes_that_claim_to_be_many_numbers_are_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], reason: str
) -> None:
    path = tmp_path / "w.pt"
    torch.save(tensors, path)
    with pytest.raises(ModelError, match=reason):
        load_state_dict(path)


def test_a_network_of_views_of_few_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    state = random_network(VIT).state_dict()
    torch.save({name: torch.zeros(()).expand(tensor.shape) for name, tensor in state.items()}, path)
    with pytest.raises(ModelError, match=r"bytes claim .* numbers"):
        build_network(spec_of(VIT), path)


def pickled(path: Path, data: bytes, storage: bytes = b"") -> Path:
    """Write a TorchScript archive with this pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/constants.pkl", b"")
        archive.writestr("w/data.pkl", data)
        archive.writestr("w/data/0", storage)
    return path


TUPLES = b"N\x85q\x00" + b"".join(b"h%ch%c\x86q%c" % (at, at, at + 1) for at in range(16))


def test_a_pickle_of_tuples_in_tuples_is_refused(tmp_path: Path) -> None:
    """Hashing such a key takes for ever, or overflows the stack.

    The first key here has 65,536 leaves, so the test would end even without the check. `make attack` has one of 2⁶⁰.
    """
    for key in (TUPLES, b"N" + b"\x85" * 10**6 + b"q\x10"):
        data = b"\x80\x02" + key + b"}h\x10Ns."
        (tmp_path / "legacy.pt").write_bytes(data)
        for path in (pickled(tmp_path / "w.pt", data), tmp_path / "legacy.pt"):
            with pytest.raises(ModelError, match="tuples in tuples"):
                load_state_dict(path)


def test_a_pickle_is_checked_under_any_spelling_of_its_name(tmp_path: Path) -> None:
    """PyTorch reads it under this spelling."""
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/DATA.PKL", b"\x80\x02" + TUPLES + b"}h\x10Ns.")
        archive.writestr("w/version", b"3\n")
    with pytest.raises(ModelError, match="tuples in tuples"):
        load_state_dict(path)


def test_modules_that_hold_each_other_twice_are_refused(tmp_path: Path) -> None:
    module, name = b"c__torch__\nM\n)\x81", b"X\x01\x00\x00\x00%c"
    twice = b"".join(
        module + b"}(" + name % b"a" + b"h%c" % at + name % b"b" + b"h%cubq%c" % (at, at + 1) for at in range(18)
    )
    with pytest.raises(ModelError, match="modules in modules"):
        load_state_dict(pickled(tmp_path / "w.pt", b"\x80\x02" + module + b"q\x00" + twice + b"."))


def test_a_storage_is_read_once_however_often_it_is_named(tmp_path: Path) -> None:
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x01\x85K\x01\x85\x89}tR"
    names = b"".join(b"X\x01\x00\x00\x00%c" % name + tensor for name in b"abc")
    path = pickled(tmp_path / "w.pt", b"\x80\x02c__torch__\nM\n)\x81}(" + names + b"ub.", bytes(4))
    state = load_state_dict(path)
    assert [*state] == ["a", "b", "c"]
    assert len({one.data_ptr() for one in state.values()}) == 1


def test_an_archive_that_unpacks_to_much_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/constants.pkl", b"")
        archive.writestr("w/data.pkl", pickle.dumps({}))
        archive.writestr("w/data/0", bytes(2**27))
    assert path.stat().st_size < 2**20
    with pytest.raises(ModelError, match="unpacks to 128 MB"):
        load_state_dict(path)


def test_a_pickle_cannot_ask_for_memory_by_an_index(tmp_path: Path) -> None:
    """LONG_BINPUT: the unpickler in C makes its memo as long as the index says, here 34 GB."""
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/constants.pkl", b"")
        archive.writestr("w/data.pkl", b"\x80\x02Nr\xff\xff\xff\x7f.")
    with pytest.raises(ModelError):
        load_state_dict(path)
