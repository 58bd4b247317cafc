"""Every family of networks equals its publisher's own code, given the same weights: tokens, pixels, embeddings."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.errors import InputError, ModelError
from pipelines.images.decode import decode
from pipelines.models.file_tokenizer import FileTokenizer, tokenizer_of
from pipelines.models.names import with_own_names
from pipelines.models.networks import empty_network
from pipelines.models.openvino_runtime import OpenVinoRuntime
from pipelines.models.pytorch_runtime import PyTorchRuntime
from pipelines.models.registry import get_model, list_models
from pipelines.models.spec import ModelSpec
from pipelines.models.text_models import list_text_models
from pipelines.models.tokenizer import tokenize
from pipelines.training.options import TrainOptions
from tests.support import families
from tests.support.families import CN_CLIP, SIZE, Original, strings
from tests.support.images import photograph
from tests.support.models import cosines

FAMILIES = (
    families.siglip, families.open_clip_siglip, families.chinese_clip, families.cn_clip, families.open_clip_xlm_roberta,
    families.open_clip_pe,
    families.sentence_transformers, families.multilingual_clip,
)  # fmt: skip
STRINGS = strings(1000)
IMAGES = np.stack([np.array(photograph(SIZE, SIZE, seed)) for seed in range(3)])

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda make: make.__name__)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, torchvision: None) -> Original:
    return request.param(tmp_path_factory.mktemp("original"))


def tokenizer(original: Original) -> Callable[[list[str]], np.ndarray]:
    spec = original.spec
    assert spec.weights.path is not None
    if spec.has_own_tokenizer:
        return tokenizer_of(spec, spec.weights.path)
    return lambda texts: tokenize(texts, spec.context_length)


def runtime(spec: ModelSpec) -> PyTorchRuntime:
    assert spec.weights.path is not None
    return PyTorchRuntime(spec, spec.weights.path, "cpu", "fp32")


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_thousand_strings_in_thirty_languages_have_the_originals_tokens(original: Original) -> None:
    theirs = original.tokenize(STRINGS).numpy()
    ours = tokenizer(original)(STRINGS)
    padding = original.spec.text.padding if original.spec.text else 0
    filled = np.full_like(theirs, padding)
    filled[:, : ours.shape[1]] = ours
    assert [text for text, one, other in zip(STRINGS, filled, theirs, strict=True) if (one != other).any()] == []
    assert len(np.unique(theirs, axis=0)) > 500, "most have the same tokens: this test would see nothing"


def test_texts_embed_as_the_original_embeds_them(original: Original) -> None:
    tokens = original.tokenize(STRINGS[:100])
    with torch.inference_mode():
        theirs = original.embed_tokens(tokens).numpy()
    ours = runtime(original.spec)
    for read in (tokens.numpy(), tokenizer(original)(STRINGS[:100])):
        np.testing.assert_allclose(unit(ours.embed_texts(read)), unit(theirs), atol=1e-5, rtol=0)
    assert cosines(theirs[:1], theirs[1:2])[0] < 0.9999, "all look alike: this test would see nothing"


def test_images_embed_as_the_original_embeds_them(original: Original) -> None:
    spec = original.spec
    if original.embed_images is None:
        assert spec.family == "text"
        return
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    with torch.inference_mode():
        theirs = original.embed_images((torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255 - mean) / std).numpy()
    np.testing.assert_allclose(unit(runtime(spec).embed_images(IMAGES)), unit(theirs), atol=1e-5, rtol=0)
    assert cosines(theirs[:1], theirs[1:2])[0] < 0.9999


def test_openvino_computes_what_pytorch_does(original: Original) -> None:
    spec, exact = original.spec, runtime(original.spec)
    assert spec.weights.path is not None
    fast = OpenVinoRuntime(spec, spec.weights.path, f"{spec.name} {id(original)}")
    read = tokenizer(original)
    if original.embed_images is not None:
        assert cosines(fast.embed_images(IMAGES), exact.embed_images(IMAGES)).min() > 0.999
    for texts in (STRINGS[:1], STRINGS[1:40]):  # two batches of different lengths
        tokens = read(texts)
        assert cosines(fast.embed_texts(tokens), exact.embed_texts(tokens)).min() > 0.999


# --- Preprocessing ---------------------------------------------------------------------------------------------------


def by_cn_clip(image: Image.Image, spec: ModelSpec) -> np.ndarray:
    return pytest.importorskip("cn_clip.clip", reason=CN_CLIP).image_transform(spec.image_size)(image).numpy()


def by_transformers(image: Image.Image, spec: ModelSpec) -> np.ndarray:
    from transformers import SiglipImageProcessor

    size = {"height": spec.image_size, "width": spec.image_size}
    processor = SiglipImageProcessor(size=size, resample=2)
    return np.asarray(processor(image, return_tensors="np")["pixel_values"][0])


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(
    ("name", "reference"),
    [("chinese-clip-vit-base-patch16", by_cn_clip), ("siglip2-base-patch16-224", by_transformers)],
)
@pytest.mark.parametrize("size", [(500, 375), (100, 136), (1920, 400)])
def test_the_whole_image_is_squeezed_as_the_original_does(
    name: str, reference: Callable[[Image.Image, ModelSpec], np.ndarray], size: tuple[int, int]
) -> None:
    spec, data = get_model(name), io.BytesIO()
    photograph(*size, seed=1).save(data, "JPEG", quality=92)
    ours = decode(data.getvalue(), spec.fit, exact=True)
    theirs = reference(Image.open(data).convert("RGB"), spec)
    levels = (theirs.transpose(1, 2, 0) * spec.std + spec.mean) * 255
    assert np.abs(ours - levels).max() <= 2


# --- The registry ----------------------------------------------------------------------------------------------------


def siglip_of(spec: ModelSpec) -> dict[str, Any]:
    from transformers import SiglipConfig, SiglipModel

    sizes = spec.architecture
    vision = {"image_size": sizes.image_resolution, "patch_size": sizes.vision_patch_size}
    return SiglipModel(SiglipConfig(text_config={"vocab_size": 256000}, vision_config=vision)).state_dict()


def chinese_clip_of(spec: ModelSpec) -> dict[str, Any]:
    clip = pytest.importorskip("cn_clip.clip", reason=CN_CLIP)
    from cn_clip.clip.model import CLIP

    folder = Path(clip.__file__).with_name("model_configs")
    files = ("ViT-B-16.json", "RoBERTa-wwm-ext-base-chinese.json")
    sizes: dict[str, Any] = {}
    for file in files:
        sizes |= json.loads((folder / file).read_text())
    return CLIP(**sizes).state_dict()


def xlm_roberta_of(spec: ModelSpec) -> dict[str, Any]:
    from open_clip.hf_model import HFTextEncoder
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from transformers import XLMRobertaConfig

    config = XLMRobertaConfig(vocab_size=250002, max_position_embeddings=514, type_vocab_size=1)
    text = HFTextEncoder("", 512, config, pooler_type="mean_pooler", proj_type="mlp").state_dict()
    visual = CLIP(512, CLIPVisionCfg(patch_size=32), CLIPTextCfg(layers=1)).visual.state_dict()
    return {f"text.{name}": one for name, one in text.items()} | {f"visual.{name}": one for name, one in visual.items()}


def pe_of(spec: ModelSpec) -> dict[str, Any]:
    import timm
    from open_clip.transformer import TextTransformer

    images = timm.create_model("vit_pe_core_small_patch16_384", num_classes=512).state_dict()
    texts = TextTransformer(32, 49408, 512, 8, 12, output_dim=512).state_dict()
    named = {f"text.{name}": one for name, one in texts.items()}
    return named | {f"visual.trunk.{name}": one for name, one in images.items()}


def distilbert_of(spec: ModelSpec) -> dict[str, Any]:
    from transformers import DistilBertConfig, DistilBertModel

    head = torch.nn.Linear(768, 512, bias=False).weight
    return {**DistilBertModel(DistilBertConfig(vocab_size=119547)).state_dict(), "linear.weight": head}


def xlm_roberta_large_of(spec: ModelSpec) -> dict[str, Any]:
    from transformers import XLMRobertaConfig, XLMRobertaModel

    sizes = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    config = XLMRobertaConfig(vocab_size=250002, max_position_embeddings=514, type_vocab_size=1, **sizes)
    linear = torch.nn.Linear(1024, spec.dim).state_dict()
    text = {f"transformer.{name}": one for name, one in XLMRobertaModel(config).state_dict().items()}
    return text | {f"LinearTransformation.{name}": one for name, one in linear.items()}


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("siglip2-base-patch32-256", siglip_of), ("siglip2-base-patch16-224", siglip_of),
        ("siglip2-base-patch16-256", siglip_of), ("siglip2-base-patch16-384", siglip_of),
        ("chinese-clip-vit-base-patch16", chinese_clip_of), ("xlm-roberta-base-ViT-B-32", xlm_roberta_of),
        ("PE-Core-S-16-384", pe_of), ("clip-ViT-B-32-multilingual-v1", distilbert_of),
        ("XLM-Roberta-Large-Vit-B-32", xlm_roberta_large_of),
        ("XLM-Roberta-Large-Vit-L-14", xlm_roberta_large_of),
    ],
)  # fmt: skip
def test_a_registered_model_has_the_tensors_of_the_original_in_full_size(
    name: str, reference: Callable[[ModelSpec], dict[str, Any]]
) -> None:
    spec = next(spec for spec in (*list_models(), *list_text_models()) if spec.name == name)
    with torch.device("meta"):
        state = reference(spec)
        apart = {"linear.weight": state.pop("linear.weight")} if spec.weights.beside else {}  # in a file of its own
        theirs = {key: one.shape for key, one in {**with_own_names(state), **with_own_names(apart)}.items()}
        ours = {key: one.shape for key, one in empty_network(spec).state_dict().items()}
    assert {key: theirs.get(key) for key in ours} == ours
    left = {key for key in theirs if key not in ours and "position_ids" not in key and "pooler" not in key}
    assert left <= {"logit_scale", "logit_bias"}


def test_a_model_without_its_tokenizer_is_refused(original: Original, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no tokenizer\.json and no vocab\.txt beside"):
        tokenizer_of(original.spec, tmp_path / "model.safetensors")


def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json holds no tokenizer: "):
        FileTokenizer(tmp_path / "tokenizer.json", 77)


def test_only_clips_with_clips_own_texts_are_trained() -> None:
    with pytest.raises(InputError, match="only CLIPs whose texts CLIP's own tower reads"):
        TrainOptions(csv="x.csv", out="out", model="siglip2-base-patch32-256").start_spec()
