"""Models: the tokens and numbers are Towhee's own, and a weights file is read whatever its form, or refused unrun."""

from __future__ import annotations

import dataclasses
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pictures import photograph

from pipelines.errors import InputError, ModelError
from pipelines.models import clip
from pipelines.models.registry import BUILTIN, Architecture, Weights, get_model, list_models
from pipelines.models.tokenizer import tokenize
from pipelines.models.weights import load_state_dict, locate
from pipelines.towhee_compat import import_clip

torch = pytest.importorskip("torch")

VIT = Architecture(
    embed_dim=16, image_resolution=32, vision_layers=2, vision_width=64, vision_patch_size=8,
    transformer_width=64, transformer_heads=1, transformer_layers=2, context_length=20,
)  # fmt: skip
RESNET = dataclasses.replace(VIT, vision_layers=(1, 1, 1, 1), vision_width=16, vision_patch_size=None)
PICTURES = np.stack([np.array(photograph(32, 32, seed)) for seed in range(3)])
TEXTS = ["a dog", "", "two red cats on a green sofa, photographed from above " * 3]


def spec_of(architecture: Architecture) -> clip.ModelSpec:
    return dataclasses.replace(BUILTIN, name="tiny", architecture=architecture, weights=Weights("tiny.pt"))


def random_network(architecture: Architecture) -> torch.nn.Module:
    torch.manual_seed(3)
    network = import_clip().CLIP(**dataclasses.asdict(architecture)).eval()
    for name, tensor in network.state_dict().items():
        if tensor.dim() == 4 or "bn3.weight" in name or "running_mean" in name:  # else all pictures look alike
            torch.nn.init.normal_(tensor, std=0.2)
    # What fp16 can hold, so that files in fp16 and fp32 hold the same.
    network.load_state_dict({name: tensor.half().float() for name, tensor in network.state_dict().items()})
    return network


def embeddings(
    path: Path, architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> tuple[np.ndarray, np.ndarray]:
    """Of three pictures and three texts, in fp32, by the weights in a file."""
    monkeypatch.setattr(clip, "_fast_dtype", lambda device: torch.float32)
    model = clip.ClipModel(spec_of(architecture), str(path), "cpu")
    return model.embed_images(PICTURES), model.embed_texts(TEXTS)


# --- Tokens ----------------------------------------------------------------------------------------------------------


def odd_texts() -> list[str]:
    """A few hundred texts as people, pages and programs write them."""
    chance = random.Random(5)
    alphabets = [
        "abc xyz'’-",
        "äßéñÅ ",
        "猫在沙发上。",
        "ねこ カワイイ",
        "кошка ",
        "😀👨‍👩‍👧🏽🇩🇪",
        "\t\n\r\0\x07\x1b\x7f",
        "0123456789.,%€$",
        "&amp;&lt;b&gt; ",
        "<|endoftext|> ",
        "\u200b\ufeff\u2028 ",
        "ﬁ½①ℌ",
    ]
    made = ["".join(chance.choices("".join(chance.sample(alphabets, 3)), k=chance.randint(1, 60))) for _ in range(250)]
    return [
        *made, "", " ", "\n", "a" * 1000, "dog " * 75, "dog " * 76, "dog " * 500, "!" * 200, "don't we'll I'M",
        "&amp;amp; &eacute; &#128512;", "<|startoftext|>", "<|endoftext|> a dog", "â€œmojibakeâ€\x9d",
        "A Photo OF a   DOG", "é", "e\u0301", "\U0010ffff",
    ]  # fmt: skip


def test_tokens_are_those_of_towhees_own_tokenizer() -> None:
    texts = odd_texts()
    # One call for all: Towhee builds its tokenizer anew each time.
    expected = import_clip().tokenize(texts, truncate=True).numpy()
    wrong = [
        text for text, ours, theirs in zip(texts, tokenize(texts), expected, strict=True) if (ours != theirs).any()
    ]
    assert wrong == []


def test_a_text_that_is_too_long_still_ends_with_the_end_of_text() -> None:
    tokens = tokenize(["dog " * 500, "dog"], context_length=20)
    assert tokens.shape == (2, 20)
    assert tokens[0, -1] == 49407
    assert list(tokens[1, :4]) == [49406, 1929, 49407, 0]


def test_bytes_that_are_no_text_are_searched_for_as_question_marks() -> None:
    assert np.array_equal(tokenize(["a \udcff dog"]), tokenize(["a ? dog"]))


# --- The text tower --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def builtin() -> torch.nn.Module:
    return clip.build_network(BUILTIN, locate(BUILTIN))


def test_a_text_tower_cut_at_the_last_end_of_text_equals_towhees_whole_one(builtin: torch.nn.Module) -> None:
    texts = ["dog", "", "a dog on a sofa " * 40, *odd_texts()[::25]]
    tokens = torch.from_numpy(tokenize(texts))
    with torch.inference_mode():
        whole = builtin.encode_text(tokens, device="cpu")
        assert torch.allclose(clip.encode_text(builtin, tokens), whole, atol=1e-5)
        one_by_one = torch.cat([clip.encode_text(builtin, row[None]) for row in tokens])
    assert torch.allclose(one_by_one, whole, atol=1e-5)
    assert whole.std(0).max() > 1e-3, "all texts have the same embedding: this test would see nothing"


def test_half_precision_agrees_with_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = clip.ClipModel(BUILTIN, device="cpu")
    if fast.dtype is torch.float32:
        pytest.skip("this CPU has no bf16 matrix instructions")
    monkeypatch.setattr(clip, "_fast_dtype", lambda device: torch.float32)
    exact = clip.ClipModel(BUILTIN, device="cpu")
    pictures = np.stack([np.array(photograph(64, 64, seed)) for seed in range(8)])
    for ours, theirs in (
        (fast.embed_images(pictures), exact.embed_images(pictures)),
        (fast.embed_texts(TEXTS), exact.embed_texts(TEXTS)),
    ):
        cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
        assert cosine.min() >= 0.999


# --- Weights files ---------------------------------------------------------------------------------------------------


def test_the_builtin_weights_ship_and_are_small() -> None:
    path = locate(BUILTIN)
    assert path.stat().st_size < 25_000_000
    assert path.parent == Path(clip.__file__).parent


def torchscript(network: torch.nn.Module, path: Path) -> None:
    """An archive as OpenAI publishes them: traced, in fp16, with three numbers among the tensors."""
    context = network.context_length
    for name, number in (("input_resolution", 32), ("context_length", context), ("vocab_size", 49408)):
        if hasattr(network, name):
            delattr(network, name)
        network.register_buffer(name, torch.tensor(number))
    # Any code will do: it is never run.
    network.encode_text = lambda text: network.token_embedding(text).sum(1) @ network.text_projection
    pictures, texts = torch.zeros(1, 3, 32, 32), torch.zeros(1, context, dtype=torch.long)
    traced = torch.jit.trace_module(network, {"encode_image": pictures, "encode_text": texts}, check_trace=False)
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
    form: str, architecture: Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_network(architecture)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (BUILTIN.mean, BUILTIN.std))
    with torch.inference_mode():
        pixels = torch.from_numpy(PICTURES).permute(0, 3, 1, 2) / 255
        expected_images = network.encode_image((pixels - mean) / std).numpy()
        tokens = torch.from_numpy(tokenize(TEXTS, architecture.context_length))
        expected_texts = network.encode_text(tokens, device="cpu").numpy()
    images, texts = embeddings(save_as(form, network, tmp_path), architecture, monkeypatch)
    np.testing.assert_allclose(images, expected_images, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(texts, expected_texts, atol=1e-4, rtol=1e-4)
    assert np.abs(images[0] - images[1]).max() > 0.01


def test_int8_tensors_are_multiplied_by_their_scales(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    values = torch.tensor([[-127, 64], [0, 127]], dtype=torch.int8)
    tensors = {"a": values, "a.scale": torch.tensor([[0.5], [2.0]]).half(), "norm.scale": torch.ones(2)}
    save_file(tensors, tmp_path / "w.safetensors")
    state = load_state_dict(tmp_path / "w.safetensors")
    assert state["a"].tolist() == [[-63.5, 32.0], [0.0, 254.0]]
    assert sorted(state) == ["a", "norm.scale"]  # a tensor that only happens to have such a name stays


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
    torch.load(path, weights_only=False) if form == "torch.save" else None
    assert marker.exists() == (form == "torch.save")  # it would have run


class RunsOnLoad(torch.nn.Module):
    """TorchScript's own way to run code when an archive is loaded."""

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
        clip.build_network(spec_of(architecture), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    if damage == "another model":
        assert "does not hold tiny: 12 tensors are missing" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no weights file .*/nothing\.pt$"):
        locate(BUILTIN, str(tmp_path / "nothing.pt"))
    gone = dataclasses.replace(BUILTIN, weights=Weights("x", path=tmp_path / "gone.safetensors"))
    with pytest.raises(ModelError, match=r"gone\.safetensors, which ships with this package, is gone"):
        locate(gone)


# --- The registry ----------------------------------------------------------------------------------------------------


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        get_model("clip_vit_b32")
    assert all(spec.name in str(caught.value) for spec in list_models())


@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: spec.name)
def test_every_model_of_the_registry_can_be_built(spec: clip.ModelSpec) -> None:
    with torch.device("meta"):
        network = import_clip().CLIP(**dataclasses.asdict(spec.architecture))
    assert network.text_projection.shape[1] == spec.dim
    assert bool(spec.weights.path) != bool(spec.weights.url)
    assert not spec.weights.url or spec.weights.sha256 in spec.weights.url
