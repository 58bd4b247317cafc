"""Make one set of random ViT-B/32 weights in the two formats that the peers read; run this in .venv-peers.

`python -m benchmarks.peers.prepare FOLDER` writes FOLDER/weights.pt (a state dict with OpenAI's names) and FOLDER/hf/
(the same as a folder that transformers loads, with tokenizer and processor files).
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from . import compat  # noqa: F401

LAYERS = 12


def random_state() -> dict[str, Any]:
    """Return the state dict of a new ViT-B/32, the same on each call, rounded to fp16 like OpenAI's weights."""
    import torch
    from open_clip import create_model

    torch.manual_seed(0)
    state = create_model("ViT-B-32-quickgelu", pretrained=None).state_dict()
    return {name: value.half().float() for name, value in state.items() if name != "attn_mask"}


def to_transformers(state: dict[str, Any]) -> dict[str, Any]:
    """Translate OpenAI's names into those of transformers' CLIPModel, and split each fused q-k-v projection."""
    done = {
        "logit_scale": state["logit_scale"],
        "visual_projection.weight": state["visual.proj"].T.contiguous(),
        "text_projection.weight": state["text_projection"].T.contiguous(),
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
    }
    norms = {"visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm"}
    for theirs, ours in (norms | {"ln_final": "text_model.final_layer_norm"}).items():
        done |= {f"{ours}.{kind}": state[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
    for tower, prefix in (("visual.", "vision_model"), ("", "text_model")):
        for layer in range(LAYERS):
            old, new = f"{tower}transformer.resblocks.{layer}", f"{prefix}.encoder.layers.{layer}"
            done |= _block(state, old, new)
    return done


def _block(state: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    done = {}
    names = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2"}
    for kind in ("weight", "bias"):
        for part, value in zip("qkv", state[f"{old}.attn.in_proj_{kind}"].chunk(3), strict=True):
            done[f"{new}.self_attn.{part}_proj.{kind}"] = value.contiguous()
        for theirs, ours in (names | {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}).items():
            done[f"{new}.{ours}.{kind}"] = state[f"{old}.{theirs}.{kind}"]
    return done


def write_vocabulary(folder: Path) -> None:
    """Write vocab.json and merges.txt of CLIP's tokenizer, from the table that open_clip ships."""
    import open_clip
    from open_clip.tokenizer import bytes_to_unicode

    table = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    # 49,152 merges less 256 bytes and two special tokens: SimpleTokenizer of github.com/openai/CLIP.
    merges = gzip.decompress(table.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge.split()) for merge in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


def main() -> None:
    """Write both formats."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    folder = Path(sys.argv[1])
    hf = folder / "hf"
    hf.mkdir(parents=True)
    state = random_state()
    torch.save(state, folder / "weights.pt")
    model = CLIPModel(CLIPConfig())
    missing, unexpected = model.load_state_dict(to_transformers(state), strict=False)
    if unexpected or [name for name in missing if not name.endswith("position_ids")]:
        raise SystemExit(f"transformers' CLIP has other tensors than expected: {missing} {unexpected}")
    model.save_pretrained(hf)
    write_vocabulary(hf)
    # Saved separately, so that older releases of transformers can read them.
    CLIPTokenizer.from_pretrained(hf).save_pretrained(hf)
    CLIPImageProcessor().save_pretrained(hf)


if __name__ == "__main__":
    main()
