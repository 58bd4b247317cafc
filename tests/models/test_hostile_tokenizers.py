"""Tokenizers in a model folder that would take all memory, or never end, are refused before they are built."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ModelError
from pipelines.models import tokenizer_check
from pipelines.models.file_tokenizer import FileTokenizer
from pipelines.models.multilingual import load_multilingual
from tests.support import families
from tests.support.photos import Photos
from tests.support.program import CommandResult

WORDS: dict[str, Any] = {"type": "WordLevel", "vocab": {"a": 0, "<unk>": 1}, "unk_token": "<unk>"}
PARTS = ("normalizer", "pre_tokenizer", "post_processor")
PLAIN: dict[str, Any] = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "decoder": None, "model": WORDS,
    **dict.fromkeys(PARTS),
}  # fmt: skip
TEXT = "a" * 300 + " b c"


def in_turn(*normalizers: object) -> dict[str, Any]:
    return {**PLAIN, "normalizer": {"type": "Sequence", "normalizers": normalizers}}


def replacing(content: str, pattern: str = "", **other: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": other or {"Regex": pattern}, "content": content}


def splitting(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {**PLAIN, "pre_tokenizer": split}


def with_table(*units: int, texts: bytes = b"x\0") -> dict[str, Any]:
    table = struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts
    return in_turn({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()})


def added(count: int, letters: int) -> dict[str, Any]:
    token = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    tokens = [{"id": 2 + number, "content": f"{number:0{letters}}", **token} for number in range(count)]
    return {**PLAIN, "added_tokens": tokens}


def framed(count: int) -> dict[str, Any]:
    special = [{"SpecialToken": {"id": "a", "type_id": 0}}]
    text, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}
    tokens = {"a": {"id": "a", "ids": [0] * count, "tokens": ["a"] * count}}
    frame = {"type": "TemplateProcessing", "single": [*special, text], "pair": [text, second], "special_tokens": tokens}
    return {**PLAIN, "post_processor": frame}


def with_model(**values: object) -> dict[str, Any]:
    return {**PLAIN, "model": {**WORDS, **values}}


UNIGRAM = {"type": "Unigram", "unk_id": 0}
WORDPIECE = {"type": "WordPiece", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
HOSTILE: dict[str, object] = {
    "a letter that becomes 2⁴⁰": in_turn(*[replacing("aa", String="a")] * 40),
    "a letter between any two, 40 times": in_turn(*[replacing("b")] * 40),
    "long starts": in_turn(*[{"type": "Prepend", "prepend": "x" * 10_000}] * 40),
    "Unicode, 40 times": in_turn(*[{"type": "NFKD"}] * 40),
    "600 normalizers": in_turn(*[{"type": "Lowercase"}] * 600),
    "repetitions in a repetition": splitting("(a|aa)+$b"),
    "repetitions of nothing": splitting("(a*)*b"),
    "repetitions side by side": splitting("a*a*a*a*a*a*b"),
    "a repetition of what was read": splitting(r"(a+)\1+b"),
    "a million letters": splitting("((a{1000}){1000})"),
    "100,000 brackets": splitting("(" * 100_000),
    "a letter a thousand times": splitting("a{1000}"),
    "a long expression": splitting("a" * 501),
    "an expression that is none": splitting("("),
    "a pattern that is no text": splitting(5),  # type: ignore[arg-type]
    "an empty table": in_turn({"type": "Precompiled", "precompiled_charsmap": ""}),
    "a table of 4 GB": in_turn({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(b"\xff" * 4).decode()}),
    "a table that leads nowhere": with_table(*[0x7FFFFFFF] * 256),
    "a table whose texts are elsewhere": with_table(*[0] * 255, 0x80000009),
    "a table that begins within a letter": with_table(*[0] * 255, 0x80000001, texts="ä\0".encode()),
    "a table with long texts": with_table(*[0] * 256, texts=b"x" * 10_000 + b"\0"),
    "100,000 added tokens": added(100_000, 6),
    "20,000 short ones": added(20_000, 5),
    "long added tokens": added(1_000, 1_000),
    "20 million letters": with_model(**UNIGRAM, vocab=[["<unk>", 0.0], *[[f"{n:01000}", -1.0] for n in range(20_000)]]),
    "words of any length": with_model(**{**WORDPIECE, "max_input_chars_per_word": 2**31}),
    "a prefix of 10 million letters": with_model(**{**WORDPIECE, "continuing_subword_prefix": "x" * 10**7}),
    "no pieces": {**PLAIN, "model": {**UNIGRAM, "vocab": []}},
    "merges of what is not there": with_model(type="BPE", merges=[["a", "b"]]),
    "100,000 tokens around a text": framed(100_000),
    "as many tokens as fit, and one": framed(78),
    "lists 100,000 deep": "[" * 100_000,
    "objects 100,000 deep": '{"normalizer":' * 100_000,
    "no object": "[]",
    "no model": {**PLAIN, "model": None},
    "a list for a model": {**PLAIN, "model": [1]},
    "numbers for words": with_model(vocab=5),
    "a number for its normalizer": {**PLAIN, "normalizer": 5},
    "two normalizers": json.dumps(in_turn())[:-1] + ', "normalizer": null}',
    "no text": b"\xff\xfe\x00",
    "nothing": "",
}  # fmt: skip


def write(folder: Path, values: object) -> Path:
    file = folder / "tokenizer.json"
    if not isinstance(values, bytes):
        values = (values if isinstance(values, str) else json.dumps(values)).encode()
    file.write_bytes(values)
    return file


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tokenizer_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json holds no tokenizer: .") as raised:
        FileTokenizer(write(tmp_path, HOSTILE[name]), 77)(["a"])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt"])
def test_a_tokenizer_of_many_megabytes_is_not_read(tmp_path: Path, name: str) -> None:
    with open(tmp_path / name, "wb") as file:
        file.truncate(2**40)  # sparse: it takes no disk space, and fits in no memory
    with pytest.raises(ModelError, match="it has more than 40 MB"):
        FileTokenizer(tmp_path / name, 77)


@pytest.mark.parametrize(
    "pattern",
    [r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",  # GPT-2
     r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",  # CLIP
     r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
     r"[!\"#$%&'()*+,\-.\/:;<=>?@\[\\\]^_`{|}~]", " {2,}", r"\s+"],  # SigLIP and XLM-R
)  # fmt: skip
def test_the_expressions_of_known_tokenizers_are_taken(tmp_path: Path, pattern: str) -> None:
    tokenizer = FileTokenizer(write(tmp_path, splitting(pattern) | {"normalizer": replacing(" ", pattern)}), 77)
    assert tokenizer([TEXT]).size


def test_the_table_of_sentencepiece_s_own_normalizer_is_taken(tmp_path: Path) -> None:
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(load_multilingual().tokenizer.serialized_model_proto())
    table = base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode()
    normalizer = {"type": "Precompiled", "precompiled_charsmap": table}
    words = {**WORDS, "vocab": {"fi": 0, "<unk>": 1}}
    assert FileTokenizer(write(tmp_path, {**in_turn(normalizer), "model": words}), 77)(["ﬁ"]).tolist() == [[0]]


def test_tokens_that_the_model_does_not_know_are_refused(tmp_path: Path) -> None:
    known = write(tmp_path, PLAIN)
    assert FileTokenizer(known, 77, known=2)(["a", "b"]).tolist() == [[0], [1]]
    with pytest.raises(ModelError, match="it has a token 1, and the model knows 1"):
        FileTokenizer(known, 77, known=1)(["a", "b"])
    with pytest.raises(ModelError, match="it has a token 9, and the model knows 2"):
        FileTokenizer(known, 77, padding=9, known=2)(["a"])


@pytest.mark.usefixtures("torchvision")
def test_a_search_with_such_a_tokenizer_ends_with_status_3(
    tmp_path: Path, photos: Photos, quick_command: Callable[..., CommandResult]
) -> None:
    folder = tmp_path / "model"
    families.siglip(folder)
    where = ("--model", folder, "--uri", tmp_path / "s.db", "--runtime", "pytorch")
    assert quick_command("insert", photos.folder, *where).status == 0
    write(folder, HOSTILE["a letter that becomes 2⁴⁰"])
    done = quick_command("search", "a cat", *where)
    assert (done.status, done.err.count("\n"), done.out) == (3, 1, ""), done.err


def test_what_ends_in_rust_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_check, "_MOST_REPEATED", 99)
    tokenizer = FileTokenizer(write(tmp_path, splitting("a*a*a*a*a*a*b")), 77)
    with pytest.raises(ModelError, match=r"cannot read a text: .*retry-limit") as raised:
        tokenizer([TEXT])
    assert "\n" not in str(raised.value)
