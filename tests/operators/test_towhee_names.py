"""Towhee's own names, as public pipelines write them: they work, or one line says what to write instead."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipelines import ops, pipe
from pipelines.errors import InputError
from pipelines.models.clip import load_model
from pipelines.models.registry import BUILTIN, list_models
from pipelines.operators.embedding import ClipEmbedding, _chinese_clip
from tests.support import families
from tests.support.photos import Photos


@pytest.fixture(autouse=True)
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if anything starts a process, as Towhee does to install packages."""

    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"a process was started: {arguments}")

    monkeypatch.setattr(subprocess, "check_call", refuse)


def test_the_predefined_pipeline_of_images_and_texts_runs(photos: Photos) -> None:
    from towhee import AutoConfig, AutoPipes

    config = AutoConfig.load_config("text_image_embedding")
    assert config.model == "clip_vit_base_patch16"
    config.model = "builtin"
    image = AutoPipes.pipeline("text_image_embedding", config=config)(str(photos.paths[0])).get()[0]
    config.modality = "text"
    text = AutoPipes.pipeline("text_image_embedding", config=config)("a dog").get()[0]
    assert np.linalg.norm(image) == pytest.approx(1, abs=1e-3)
    expected = load_model("builtin").embed_texts(["a dog"])[0]
    np.testing.assert_allclose(text, expected / np.linalg.norm(expected), atol=1e-3)


def test_images_decode_by_the_name_of_the_older_tutorials(photos: Photos) -> None:
    pipeline = pipe.input("url").map("url", "img", ops.image_decode.cv2_rgb()).output("img")
    assert pipeline(str(photos.paths[0])).get()[0].shape == (72, 96, 3)


def test_an_operator_lists_its_models_and_takes_a_checkpoint(tmp_path: Path) -> None:
    path = str(BUILTIN.weights.path)
    operator = ops.image_text_embedding.clip(model_name="builtin", modality="text", checkpoint_path=path).get_op()
    assert operator.supported_model_names() == [spec.name for spec in list_models()]
    assert operator.supported_model_names(format="onnx") == []
    np.testing.assert_allclose(operator("a dog"), load_model("builtin").embed_texts(["a dog"])[0], atol=1e-3)
    with pytest.raises(InputError, match="image-search train"):
        operator.train()


def test_the_operator_reads_every_language_of_its_model() -> None:
    embed = ClipEmbedding("builtin", "text")
    dog, hund, sentence, english = (np.asarray(row) / np.linalg.norm(row) for row in embed(
        ["dog", "Hund", "ein Hund spielt im Schnee", "a dog plays in the snow"]
    ))  # fmt: skip
    assert dog @ hund == pytest.approx(1, abs=1e-3)
    assert sentence @ english > 0.5


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("ViT-B-16", "chinese-clip-vit-base-patch16"), ("cn_clip_vit_b_16", "chinese-clip-vit-base-patch16"),
        ("OFA-Sys/chinese-clip-vit-base-patch16", "chinese-clip-vit-base-patch16"),
        ("ViT-L-14", "hf:OFA-Sys/chinese-clip-vit-large-patch14"),
        ("ViT-L-14-336", "hf:OFA-Sys/chinese-clip-vit-large-patch14-336px"),
        ("ViT-H-14", "hf:OFA-Sys/chinese-clip-vit-huge-patch14"),
    ],
)  # fmt: skip
def test_a_chinese_clip_is_known_by_all_its_names(name: str, model: str) -> None:
    assert _chinese_clip(name) == model


def test_a_chinese_clip_that_is_no_vit_is_refused() -> None:
    with pytest.raises(InputError, match="no Chinese-CLIP is called 'RN50'; known are ViT-B-16"):
        _chinese_clip("RN50")


@pytest.mark.usefixtures("torchvision")
def test_the_operator_takes_a_folder_of_the_hub(tmp_path: Path, photos: Photos) -> None:
    families.chinese_clip(tmp_path)
    images = ops.image_text_embedding.clip(model_name=str(tmp_path), modality="image")
    texts = ops.image_text_embedding.clip(model_name=str(tmp_path), modality="text")
    decoded = ops.image_decode.cv2("rgb")(str(photos.paths[0]))
    assert (images(decoded).shape, texts("猫").shape) == ((16,), (16,))


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (ops.image_text_embedding.taiyi(model_name="taiyi-clip-roberta-102m-chinese", modality="text"), "cn_clip("),
        (ops.image_text_embedding.blip(model_name="blip_itm_base_coco", modality="image"), "clip_vit_base_patch32_l"),
        (ops.ann_insert.faiss_index("./faiss", 512), "ops.ann_insert.milvus_client("),
        (ops.image_embedding.timm(model_name="resnet50"), "ops.image_embedding.timm is no operator of this program"),
    ],
)
def test_what_is_only_on_towhees_hub_is_refused_with_what_to_write(operator: object, message: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        operator.get_op()  # type: ignore[attr-defined]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pipelines_and_servers_of_towhees_hub_are_refused() -> None:
    import towhee

    with pytest.raises(InputError, match=r"load_config\('text_image_embedding'\)"):
        towhee.AutoConfig.load_config("osschat-insert")
    with pytest.raises(InputError, match="Triton's packages"):
        towhee.build_docker_image(None, "image", "11.7", [])
