"""Small models of every family with random weights, made by their publishers' own code."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from pipelines.models.architecture import Architecture, TextEncoder
from pipelines.models.hub_config import XLM_R_BASE
from pipelines.models.hub_models import read_any_folder
from pipelines.models.spec import ModelSpec, Weights
from tests.support.images import photograph

Embed = Callable[[Any], torch.Tensor]
SIZE = 32
CN_CLIP = "Chinese-CLIP's own code is not here: make .venv/installed-dev"
PHOTOGRAPHS = [photograph(96, 60, seed) for seed in range(3)]
SENTENCES = {
    "ar": "قطة تنام على الأريكة", "bg": "Котка спи на дивана", "bn": "সোফায় একটি বিড়াল", "cs": "Kočka spí na gauči",
    "da": "En kat sover på sofaen", "de": "Äpfel liegen auf der Straße", "el": "Η γάτα κοιμάται στον καναπέ",
    "en": "a cat sleeps on a sofa", "es": "Un niño corre, ¿dónde?", "fa": "گربه روی مبل", "fi": "Kissa nukkuu sohvalla",
    "fr": "Ça va? L’été à l'école", "he": "חתול ישן על הספה", "hi": "बिल्ली सोफे पर सो रही है", "hu": "Egy macska alszik",
    "id": "Kucing tidur di sofa", "it": "Un gatto dorme", "ja": "ねこがソファで寝ています",
    "ko": "고양이가 소파에서 자요", "nl": "Een kat slaapt op de bank", "no": "En katt sover på sofaen",
    "pl": "Kot śpi na kanapie", "pt": "Um cão na praia, não?", "ro": "O pisică doarme",
    "ru": "Рыжая кошка спит на диване", "sv": "En katt på soffan", "th": "แมวนอนบนโซฟา",
    "tr": "İstanbul'da kediler, ışık", "uk": "Кіт спить на дивані", "vi": "Con mèo ngủ trên ghế",
    "zh": "猫在沙发上睡觉。",
}  # fmt: skip


class Original(NamedTuple):
    """A model in the files that its publisher writes, and what the publisher's code computes for images and texts."""

    spec: ModelSpec
    embed_images: Embed | None
    tokenize: Callable[[list[str]], torch.Tensor]
    embed_tokens: Embed


def strings(count: int) -> list[str]:
    """Return texts in thirty languages, whole, mixed and cut, and a few that only programs write."""
    chance = random.Random(7)
    everything = list(SENTENCES.values())
    made = ["", " ", "a_b, (c)! d-e", "A  Photo\tOF", "x" * 300, "dog " * 200, "&amp; é ﬁ 😀"]
    while len(made) + len(everything) < count:
        words = " ".join(chance.sample(everything, 3)).split(" ")
        start = chance.randrange(len(words))
        made.append(" ".join(words[start : start + chance.randint(1, 9)])[: chance.randint(1, 80)])
    return everything + made


def fill(model: torch.nn.Module, seed: int = 4) -> torch.nn.Module:
    """Give a network random weights that are large enough to expose a wrong name, order or activation."""
    torch.manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            is_scale = ("norm" in name.lower() or ".ln_" in name or "ln_" in name) and name.endswith("weight")
            torch.nn.init.normal_(tensor, mean=float(is_scale), std=0.15)
    return model.eval()


def siglip(folder: Path) -> Original:
    """Make a SigLIP 2 with transformers."""
    from transformers import Siglip2Tokenizer, SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    text = {**sizes, "vocab_size": 256000, "max_position_embeddings": 16, "projection_size": 64}
    text |= {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    config = SiglipConfig(text_config=text, vision_config={**sizes, "image_size": SIZE, "patch_size": 8})
    model = fill(SiglipModel(config))
    model.save_pretrained(folder)
    base = train_bpe(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    tokenizer = Siglip2Tokenizer(*base, padding_side="right", add_eos_token=True)
    images = SiglipImageProcessor(size={"height": SIZE, "width": SIZE}, resample=2)
    images.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor = SiglipProcessor(images, tokenizer)

    def tokens(texts: list[str]) -> torch.Tensor:
        return processor(
            text=texts, padding="max_length", truncation=True, max_length=16, return_tensors="pt"
        ).input_ids

    return Original(
        read_any_folder(folder),
        lambda pixels: model.get_image_features(pixels).pooler_output,
        tokens,
        lambda tokens: model.get_text_features(tokens).pooler_output,
    )


def chinese_clip(folder: Path) -> Original:
    """Make a Chinese-CLIP with transformers, with the tokenizer and the vocabulary of its publisher's own code."""
    from transformers import ChineseCLIPConfig, ChineseCLIPImageProcessor, ChineseCLIPModel

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 256}
    config = ChineseCLIPConfig(
        text_config={**sizes, "vocab_size": 21128},
        vision_config={**sizes, "image_size": SIZE, "patch_size": 8},
        projection_dim=16,
    )
    model = fill(ChineseCLIPModel(config))
    model.save_pretrained(folder)
    size = {"height": SIZE, "width": SIZE}
    ChineseCLIPImageProcessor(size=size, do_center_crop=False).save_pretrained(folder)
    clip = pytest.importorskip("cn_clip.clip", reason=CN_CLIP)

    vocabulary = Path(clip.__file__).with_name("vocab.txt")
    (folder / "vocab.txt").write_bytes(vocabulary.read_bytes())

    def embed_tokens(tokens: torch.Tensor) -> torch.Tensor:
        return model.get_text_features(tokens, attention_mask=(tokens != 0).long()).pooler_output

    spec = read_any_folder(folder)
    return Original(spec, lambda pixels: model.get_image_features(pixels).pooler_output, clip.tokenize, embed_tokens)


def cn_clip(folder: Path) -> Original:
    """Make a Chinese-CLIP with its publisher's code, saved as by a training run, beside transformers' configuration."""
    tokenize = pytest.importorskip("cn_clip.clip", reason=CN_CLIP).tokenize
    from cn_clip.clip.model import CLIP

    chinese_clip(folder)
    (folder / "model.safetensors").unlink()
    model = CLIP(16, SIZE, 2, 64, 8, 21128, 0.0, "gelu", 0.0, 64, 0.02, 256, 512, 1, 2, 2)
    fill(model.float())
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state}, folder / "pytorch_model.bin")
    return Original(read_any_folder(folder), model.encode_image, tokenize, model.encode_text)


def open_clip_xlm_roberta(folder: Path) -> Original:
    """Make LAION's ViT and XLM-R with open_clip; XLM-R is small, and its tokenizer is trained on a few sentences."""
    from open_clip.hf_model import HFTextEncoder
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from open_clip.tokenizer import HFTokenizer
    from transformers import XLMRobertaConfig

    tokenizer = xlm_r_tokenizer(folder)
    vision = CLIPVisionCfg(layers=2, width=64, patch_size=8, image_size=SIZE)
    model = CLIP(16, vision, CLIPTextCfg(layers=1, width=64, heads=1))
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
        max_position_embeddings=84, type_vocab_size=1, layer_norm_eps=1e-5,
    )  # fmt: skip
    text = HFTextEncoder("", 16, config, pooler_type="mean_pooler", proj_type="mlp")
    fill(model)
    fill(text)
    visual = {f"visual.{name}": tensor for name, tensor in model.visual.state_dict().items()}
    texts = {f"text.{name}": tensor for name, tensor in text.state_dict().items()}
    torch.save({**visual, **texts}, folder / "open_clip_pytorch_model.bin")
    tokenize = HFTokenizer(str(folder), context_length=77)
    sizes = dataclasses.replace(
        XLM_R_BASE, vocab_size=len(tokenizer), width=64, layers=2, heads=4, mlp_width=256, positions=84, head=(40, 16)
    )
    spec = ModelSpec(
        "tiny-xlm-roberta", Architecture(16, SIZE, 2, 64, 8, 64, 4, 2, 77, len(tokenizer)),
        Weights("open_clip_pytorch_model.bin", path=folder / "open_clip_pytorch_model.bin"), "", activation="gelu",
        text=sizes, cleaning="whitespace",
    )  # fmt: skip
    return Original(spec, model.encode_image, tokenize, text)


def open_clip_siglip(folder: Path) -> Original:
    """Make SigLIP 2's ViT-B/32 as open_clip builds it, from timm's image tower and its own text tower, but small."""
    from functools import partial

    from open_clip.tokenizer import HFTokenizer
    from open_clip.transformer import TextTransformer
    from timm.models.vision_transformer import VisionTransformer
    from transformers import Siglip2Tokenizer

    images = VisionTransformer(
        SIZE, 8, embed_dim=64, depth=2, num_heads=1, class_token=False, global_pool="map", num_classes=0,
        act_layer=partial(torch.nn.GELU, approximate="tanh"),
    )  # fmt: skip
    texts = TextTransformer(
        16, 256000, 64, 1, 2, output_dim=64, no_causal_mask=True, proj_bias=True, pool_type="last",
        act_layer=partial(torch.nn.GELU, approximate="tanh"), norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )  # fmt: skip
    state = {f"visual.trunk.{name}": tensor for name, tensor in fill(images).state_dict().items()}
    state |= {f"text.{name}": tensor for name, tensor in fill(texts).state_dict().items()}
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    base = train_bpe(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    Siglip2Tokenizer(*base, padding_side="right", add_eos_token=True).save_pretrained(folder)
    tokenize = HFTokenizer(str(folder), context_length=16, clean="canonicalize")
    spec = ModelSpec(
        "tiny-siglip", Architecture(64, SIZE, 2, 64, 8, 64, 1, 2, 16, 256000),
        Weights("open_clip_pytorch_model.bin", path=folder / "open_clip_pytorch_model.bin"), "", family="siglip",
        activation="gelu_tanh", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), squash=True, cleaning="canonicalize",
    )  # fmt: skip
    return Original(spec, images, tokenize, texts)


def sentence_transformers(folder: Path) -> Original:
    """Make a small DistilBERT with a dense layer, in the files of clip-ViT-B-32-multilingual-v1."""
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import BertProcessing
    from transformers import DistilBertConfig, DistilBertModel

    tokenizer = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    tokenizer.train_from_iterator([text for text in SENTENCES.values() for _ in range(3)], 600, show_progress=False)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[SEP]", "[CLS]")]
    tokenizer._tokenizer.post_processor = BertProcessing(*ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    model = fill(DistilBertModel(DistilBertConfig(vocab_size=size, dim=64, n_layers=2, n_heads=2, hidden_dim=96)))
    dense = fill(torch.nn.Linear(64, 16, bias=False))
    (folder / "2_Dense").mkdir()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    torch.save({"linear.weight": dense.weight}, folder / "2_Dense" / "pytorch_model.bin")
    encoder = TextEncoder(size, 128, 64, 2, 2, 96, token_types=0, head=(16,))
    tokenizer.enable_padding(pad_id=0)
    tokenizer.enable_truncation(128)

    def tokenize(texts: list[str]) -> torch.Tensor:
        return torch.tensor([encoded.ids for encoded in tokenizer.encode_batch(texts)])

    def embed(tokens: torch.Tensor) -> torch.Tensor:  # `Pooling` and `Dense` of sentence-transformers
        mask = (tokens != 0).long()
        states = model(tokens, attention_mask=mask).last_hidden_state
        return dense((states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True))

    return Original(text_model(folder, encoder, beside="2_Dense/pytorch_model.bin"), None, tokenize, embed)


def multilingual_clip(folder: Path, dim: int = 16) -> Original:
    """Make a small XLM-R with a linear layer, in the files of M-CLIP."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    tokenizer = xlm_r_tokenizer(folder)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
    config = XLMRobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=514, type_vocab_size=1, **sizes)
    model = fill(XLMRobertaModel(config, add_pooling_layer=False))
    linear = fill(torch.nn.Linear(64, dim))
    state = {f"transformer.{name}": tensor for name, tensor in model.state_dict().items()}
    state |= {f"LinearTransformation.{name}": tensor for name, tensor in linear.state_dict().items()}
    torch.save(state, folder / "pytorch_model.bin")
    encoder = dataclasses.replace(
        XLM_R_BASE, vocab_size=len(tokenizer), context_length=512, width=64, layers=2, heads=2, mlp_width=256,
        epsilon=config.layer_norm_eps,
        head=(dim,), head_bias=True,
    )  # fmt: skip

    def tokenize(texts: list[str]) -> torch.Tensor:
        return tokenizer(texts, padding=True, truncation=True, max_length=512, return_tensors="pt").input_ids

    def embed(tokens: torch.Tensor) -> torch.Tensor:  # `MultilingualCLIP.forward` in multilingual_clip
        mask = (tokens != 1).long()
        states = model(tokens, attention_mask=mask)[0]
        return linear((states * mask.unsqueeze(2)).sum(dim=1) / mask.sum(dim=1)[:, None])

    return Original(text_model(folder, encoder), None, tokenize, embed)


def text_model(folder: Path, encoder: TextEncoder, beside: str = "") -> ModelSpec:
    """Describe a text model in this folder."""
    weights = Weights("pytorch_model.bin", path=folder / "pytorch_model.bin", beside=beside)
    sizes = Architecture(encoder.head[-1], 0, 0, 0, None, encoder.width, encoder.heads, encoder.layers)
    return ModelSpec("tiny-text", sizes, weights, "", family="text", text=encoder, languages=("de", "en", "ja"))


def open_clip_pe(folder: Path) -> Original:
    """Make PE core as open_clip builds it, from timm's image tower and its own text tower, but small."""
    from functools import partial

    from open_clip import tokenize
    from open_clip.transformer import TextTransformer
    from timm.models.eva import Eva

    side = SIZE // 8
    images = Eva(
        img_size=SIZE, patch_size=8, embed_dim=64, depth=2, num_heads=1, mlp_ratio=4.0, global_pool="map",
        attn_type="rope", use_pre_transformer_norm=True, use_rot_pos_emb=True, ref_feat_shape=(side, side),
        rope_grid_offset=1.0, rope_grid_indexing="xy", attn_pool_num_heads=8, attn_pool_mlp_ratio=4.0,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-5), num_classes=16,
    )  # fmt: skip
    texts = TextTransformer(32, 49408, 64, 1, 2, output_dim=16)
    state = {f"visual.trunk.{name}": tensor for name, tensor in fill(images).state_dict().items()}
    state |= {f"text.{name}": tensor for name, tensor in fill(texts).state_dict().items()}
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    spec = ModelSpec(
        "tiny-pe", Architecture(16, SIZE, 2, 64, 8, 64, 1, 2, 32),
        Weights("open_clip_pytorch_model.bin", path=folder / "open_clip_pytorch_model.bin"), "", family="pe",
        activation="gelu", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), squash=True, bilinear=True,
    )  # fmt: skip
    return Original(spec, images, partial(tokenize, context_length=32), texts)


def train_bpe(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train a small byte-pair vocabulary of Gemma's kind; return it with its merges."""
    from tokenizers import Tokenizer, models, normalizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    alphabet = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=[*special, *alphabet], show_progress=False)
    tokenizer.train_from_iterator([text for text in SENTENCES.values() for _ in range(3)], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def xlm_r_tokenizer(folder: Path) -> Any:
    """Train a tokenizer of XLM-R's kind on a few sentences, write it as the hub stores it, and return it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import XLMRobertaTokenizer

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=1000, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([text for text in SENTENCES.values() for _ in range(3)], trainer)
    vocabulary = json.loads(tokenizer.to_str())["model"]["vocab"]
    made = XLMRobertaTokenizer([(piece, score) for piece, score in vocabulary])
    made.save_pretrained(folder)
    return made
