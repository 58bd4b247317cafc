"""Weights files: every kind gives the same numbers or is refused in one line, and nothing in them is executed."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.errors import ModelError
from pipelines.models import registry
from pipelines.models.architecture import Architecture
from pipelines.models.checkpoints import load_state_dict
from pipelines.models.clip import ClipModel
from pipelines.models.networks import build_network
from pipelines.models.pytorch_runtime import PyTorchRuntime
from pipelines.models.registry import BUILTIN, get_model
from pipelines.models.spec import Weights
from pipelines.models.tokenizer import tokenize
from tests.support.models import IMAGES, RESNET, TEXTS, VIT, random_network, spec_of


def torchscript(network: torch.nn.Module, path: Path) -> None:
    """Write an archive as OpenAI publishes them: traced, in fp16, with three numbers among the tensors."""
    context = network.context_length
    for name, number in (("input_resolution", 32), ("context_length", context), ("vocab_size", 49408)):
        if hasattr(network, name):
            delattr(network, name)
        network.register_buffer(name, torch.tensor(number))
    # Any code will do, because it is never run.
    network.encode_text = lambda text: network.token_embedding(text).sum(1) @ network.text_projection
    images, texts = torch.zeros(1, 3, 32, 32), torch.zeros(1, context, dtype=torch.long)
    traced = torch.jit.trace_module(network, {"encode_image": images, "encode_text": texts}, check_trace=False)
    traced.half().save(str(path))


def save_as(form: str, network: torch.nn.Module, folder: Path) -> Path:
    from safetensors.torch import save_file

    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    path = folder / ("tiny.safetensors" if form.startswith("safetensors") else "tiny.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form == "safetensors fp16":
        save_file({name: tensor.half() for name, tensor in state.items()}, path)
    elif form == "torch":
        torch.save(state, path)
    elif form == "torch, old zipless format":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif form == "training checkpoint":
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    else:
        torchscript(network, path)
    return path


FORMS = ("safetensors", "safetensors fp16", "torch", "torch, old zipless format", "training checkpoint", "torchscript")


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("form", "architecture"), [*((form, VIT) for form in FORMS), ("safetensors", RESNET), ("torchscript", RESNET)]
)
def test_the_same_weights_give_the_same_embeddings_from_every_kind_of_file(
    form: str, architecture: Architecture, tmp_path: Path
) -> None:
    network = random_network(architecture)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (BUILTIN.mean, BUILTIN.std))
    with torch.inference_mode():
        pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255
        expected_images = network.encode_image((pixels - mean) / std).numpy()
        tokens = torch.from_numpy(tokenize(TEXTS, architecture.context_length))
        expected_texts = network.encode_text(tokens, device="cpu").numpy()
    model = PyTorchRuntime(spec_of(architecture), save_as(form, network, tmp_path), "cpu", "fp32")
    images = model.embed_images(IMAGES)
    np.testing.assert_allclose(images, expected_images, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(model.embed_texts(tokens.numpy()), expected_texts, atol=1e-4, rtol=1e-4)
    assert np.abs(images[0] - images[1]).max() > 0.01


def test_int8_tensors_are_multiplied_by_their_scales(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    values = torch.tensor([[-127, 64], [0, 127]], dtype=torch.int8)
    tensors = {"a": values, "a.scale": torch.tensor([[0.5], [2.0]]).half(), "norm.scale": torch.ones(2)}
    save_file(tensors, tmp_path / "w.safetensors")
    state = load_state_dict(tmp_path / "w.safetensors")
    assert state["a"].tolist() == [[-63.5, 32.0], [0.0, 254.0]]
    assert sorted(state) == ["a", "norm.scale"]  # a tensor that only happens to have such a name is kept


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": torch.ones(2, 3), "a.scale": torch.ones(5, 1)},
        {
            "vision_model.encoder.layers.0.self_attn.q_proj.weight": torch.ones(2, 3),
            "vision_model.encoder.layers.0.self_attn.k_proj.weight": torch.ones(4),
        },
        {"visual_projection.weight": torch.ones(2, 2), "vision_model.head.probe": torch.ones(())},
        {"embeddings.word_embeddings.weight": torch.ones(1), "text_projection": torch.ones(3)},
        {"visual.trunk.pos_embed": torch.ones(1), "visual.trunk.attn_pool.q.weight": torch.ones(())},
    ],
)
def test_tensors_that_do_not_fit_together_are_refused_in_one_line(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ModelError) as caught:
        build_network(spec_of(VIT), tmp_path / "w.safetensors")
    assert str(tmp_path / "w.safetensors") in str(caught.value)
    assert "\n" not in str(caught.value)


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("form", ["torch.save", "plain pickle", "dressed up as TorchScript"])
def test_a_malicious_pickle_is_refused_and_never_runs(form: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "it-ran", tmp_path / "evil.pt"
    if form == "torch.save":
        torch.save({"state_dict": {"a": torch.ones(2)}, "extra": Malicious(marker)}, path)
    elif form == "plain pickle":
        path.write_bytes(pickle.dumps(Malicious(marker)))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("data.pkl", "constants.pkl"):
                archive.writestr(f"archive/{name}", pickle.dumps(Malicious(marker)))
            archive.writestr("archive/version", "3\n")
    with pytest.raises(ModelError) as caught:
        load_state_dict(path)
    assert not marker.exists()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert "weights_only=False" not in str(caught.value)
    if form == "torch.save":
        torch.load(path, weights_only=False)["extra"].close()
    assert marker.exists() == (form == "torch.save")  # loaded without checks, it runs


class RunsOnLoad(torch.nn.Module):
    """Uses TorchScript's own way to run code when an archive is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return (self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.weight, self.training = state[0], state[1]
        print("the archive's code ran")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_code_in_a_torchscript_archive_never_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pt"
    torch.jit.script(RunsOnLoad()).save(str(path))
    capfd.readouterr()
    with pytest.raises(ModelError):
        load_state_dict(path)
    assert "ran" not in capfd.readouterr().out
    torch.jit.load(str(path))
    assert "ran" in capfd.readouterr().out


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "another model", "no state dict"])
def test_a_file_that_is_not_the_models_is_refused_in_one_line(name: str, damage: str, tmp_path: Path) -> None:
    form = "safetensors" if name.endswith("safetensors") else "torch"
    path = save_as(form, random_network(VIT), tmp_path).rename(tmp_path / name)
    architecture = VIT
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("<html>404 Not Found</html>")
    elif damage == "another model":
        architecture = dataclasses.replace(VIT, transformer_layers=3)
    else:
        torch.save([torch.ones(2)], path)
    with pytest.raises(ModelError) as caught:
        build_network(spec_of(architecture), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    if damage == "another model":
        assert "does not hold tiny: 12 tensors are missing" in str(caught.value)


@pytest.mark.long
@pytest.mark.parametrize("held", ["clip_vit_base_patch16", "clip_vit_base_patch32", "clip_resnet_r50"])
def test_a_file_of_another_model_is_refused_with_the_name_of_the_model_that_it_seems_to_hold(
    held: str, tmp_path: Path
) -> None:
    """The file only has the sizes of the other model: its tensors take no memory and no disk space."""
    with torch.device("meta"):
        names = build_shapes(get_model(held).architecture)
    state = {name: torch.zeros(()).expand(shape) for name, shape in names.items()}
    torch.save(state, tmp_path / "held.pt")
    with pytest.raises(ModelError) as caught:
        build_network(get_model("clip_vit_large_patch14"), tmp_path / "held.pt")
    assert "does not hold clip_vit_large_patch14" in str(caught.value)
    assert f"it seems to be {held}" in str(caught.value)


def build_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the names and sizes of a model's tensors."""
    from pipelines.towhee_compat import import_clip

    network = import_clip().CLIP(**architecture.values())
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def test_a_file_that_is_no_clip_is_called_so(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="it is no CLIP that this program knows"):
        build_network(spec_of(VIT), tmp_path / "w.pt")


def test_a_known_file_of_equal_sizes_is_recognised_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LAION's ViT-B/32 in the place of OpenAI's would load, as only the activation differs, and would search worse."""
    path = save_as("safetensors", random_network(VIT), tmp_path)
    other = dataclasses.replace(
        spec_of(VIT), name="tiny_gelu", weights=Weights("other", sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    )
    monkeypatch.setattr(registry, "_MODELS", (*registry._MODELS, other))
    with pytest.raises(ModelError, match=r"holds tiny_gelu, not tiny: use --model tiny_gelu"):
        ClipModel(spec_of(VIT), str(path), "cpu", "pytorch")
