"""A loaded CLIP: device and installation decide on its runtime, and every runtime agrees with PyTorch in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.errors import InputError, ModelError
from pipelines.models import pytorch_runtime, runtime
from pipelines.models.clip import ClipModel
from pipelines.models.fingerprint import fingerprint
from pipelines.models.openvino_runtime import OpenVinoRuntime
from pipelines.models.pytorch_runtime import PyTorchRuntime
from pipelines.models.registry import BUILTIN
from pipelines.models.runtime import Runtime, choose_runtime
from pipelines.models.tokenizer import tokenize
from pipelines.models.weights import locate
from tests.support.images import photograph
from tests.support.models import cosines, odd_texts


@pytest.fixture(scope="module")
def exact() -> PyTorchRuntime:
    return PyTorchRuntime(BUILTIN, locate(BUILTIN), "cpu", "fp32")


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    side = BUILTIN.architecture.image_resolution
    return np.stack([np.array(photograph(side, side, seed)) for seed in range(8)])


@pytest.fixture(params=["openvino", "pytorch bf16", "pytorch fp32"])
def fast(request: pytest.FixtureRequest) -> Runtime:
    if request.param == "openvino":
        return OpenVinoRuntime(BUILTIN, locate(BUILTIN), fingerprint(locate(BUILTIN)))
    return PyTorchRuntime(BUILTIN, locate(BUILTIN), "cpu", request.param.split()[1])


@pytest.mark.long
def test_every_runtime_agrees_with_pytorch_in_float32(
    fast: Runtime, exact: PyTorchRuntime, photographs: np.ndarray
) -> None:
    tokens = tokenize(odd_texts(40))
    texts = exact.embed_texts(tokens)
    assert cosines(fast.embed_images(photographs), exact.embed_images(photographs)).min() >= 0.999
    assert cosines(fast.embed_texts(tokens), texts).min() >= 0.999
    assert cosines(texts[1:20], texts[:1]).max() > cosines(texts[1:20], texts[:1]).min()


@pytest.mark.parametrize("kind", ["openvino", "pytorch"])
def test_a_text_tower_cut_at_the_end_of_the_text_equals_towhees_whole_one(kind: str) -> None:
    from pipelines.models.networks import build_network

    texts = ["dog", "", "a dog on a sofa " * 40, *odd_texts(200)[::25]]
    with torch.inference_mode():
        whole = build_network(BUILTIN, locate(BUILTIN)).encode_text(torch.from_numpy(tokenize(texts)), device="cpu")
    model = ClipModel(BUILTIN, device="cpu", runtime=kind)
    if model.runtime.precision != "fp32":
        pytest.skip("this CPU computes in bf16: the test above compares it")
    one_by_one = np.concatenate([model.embed_texts([text]) for text in texts])
    for ours in (model.embed_texts(texts), one_by_one):
        np.testing.assert_allclose(ours, whole.numpy(), atol=2e-5)
    assert whole.std(0).max() > 1e-3, "all texts have the same embedding: this test would see nothing"


def test_a_short_text_costs_less_than_a_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ClipModel(BUILTIN, device="cpu")
    seen = []
    monkeypatch.setattr(model.runtime, "embed_texts", lambda tokens: seen.append(tokens.shape))
    model.embed_texts(["dog", "two dogs"])
    assert seen == [(2, 4)]  # start, two words, end


def test_gpus_and_new_cpus_compute_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for amx, avx512, expected in ((0, 0, torch.float32), (1, 0, torch.bfloat16), (0, 1, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx512=avx512: avx512)
        assert pytorch_runtime.fast_dtype("cpu") is expected
    assert pytorch_runtime.fast_dtype("cuda:1") is torch.float16


# --- The choice of the runtime ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "device", "gpu", "installed", "chosen"),
    [
        ("auto", "auto", False, True, "openvino"),
        ("auto", "cpu", True, True, "openvino"),
        ("auto", "auto", True, True, "pytorch"),
        ("auto", "cuda:1", True, True, "pytorch"),
        ("auto", "auto", False, False, "pytorch"),
        ("pytorch", "cpu", False, True, "pytorch"),
        ("openvino", "auto", True, True, "openvino"),
    ],
)
def test_the_runtime_is_chosen_by_device_and_by_what_is_installed(
    asked: str, device: str, gpu: bool, installed: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_gpu_possible", lambda: gpu)
    if not installed:
        monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    assert choose_runtime(asked, device) == chosen


def test_a_runtime_that_cannot_run_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no runtime 'onnx'; known runtimes: auto, pytorch, openvino"):
        choose_runtime("onnx")
    with pytest.raises(InputError, match="runs on the CPU, not on 'cuda': use --runtime pytorch"):
        choose_runtime("openvino", "cuda")
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="not installed: pip install openvino"):
        choose_runtime("openvino", "cpu")


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(ModelError, match="no device 'cuda:7' here"):
        ClipModel(BUILTIN, device="cuda:7")


def test_a_search_by_words_loads_no_pytorch(command: Callable, quick_command: Callable, photos, tmp_path: Path) -> None:
    """Importing it would take half of a search's time; the insert has converted both towers."""
    uri, new = tmp_path / "search.db", {"IMAGE_SEARCH_CACHE": str(tmp_path / "cache")}
    assert quick_command("insert", photos.csv, "--uri", uri, "--model", "builtin", env=new).status == 0
    done = command("search", "a cat", "--uri", uri, env={**new, "PYTHONVERBOSE": "1"})
    assert done.status == 0
    assert "import 'openvino'" in done.err
    assert "import 'torch'" not in done.err
    assert "import 'openvino_telemetry" not in done.err


def test_the_profile_names_what_ran_the_model(quick_command: Callable, photos, tmp_path: Path) -> None:
    arguments = ("insert", photos.csv, "--uri", tmp_path / "x.db", "--model", "builtin", "--profile")
    done = quick_command(*arguments, "--runtime", "pytorch", "--batch-size", 5)
    assert "runtime    openvino" in quick_command("info", "--uri", tmp_path / "x.db").out
    assert "the model ran by pytorch" in done.out
    assert "on cpu, batch 5" in done.out
