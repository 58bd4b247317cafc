"""The multilingual tower that ships with `builtin`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import ModelError
from pipelines.models.clip import load_model
from pipelines.models.multilingual import MULTILINGUAL_FILE, MultilingualTower, load_multilingual
from pipelines.models.registry import BUILTIN

SENTENCES = (
    "a dog runs on the beach", "ein Hund läuft am Strand", "un chien court sur la plage", "一只狗在沙滩上奔跑",
    "собака бежит по пляжу", "犬が浜辺を走っている", "كلب يجري على الشاطئ", "สุนัขวิ่งบนชายหาด",
)  # fmt: skip
OTHERS = ("a red car in the city", "two men play tennis", "a plate of food on a table", "snow on a mountain")


@pytest.mark.long
def test_translations_lie_where_builtin_has_the_english_sentence() -> None:
    told = load_multilingual().embed_texts(SENTENCES)
    english = load_model("builtin").embed_texts([SENTENCES[0], *OTHERS])
    english /= np.linalg.norm(english, axis=1, keepdims=True)
    assert told.shape == (len(SENTENCES), BUILTIN.dim)
    np.testing.assert_allclose(np.linalg.norm(told, axis=1), 1, rtol=1e-5)
    assert (told @ english.T).argmax(axis=1).tolist() == [0] * len(SENTENCES)


def test_a_text_is_embedded_alike_alone_and_among_others() -> None:
    tower = load_multilingual()
    np.testing.assert_allclose(tower.embed_texts(SENTENCES)[3], tower.embed_texts(SENTENCES[3:4])[0], atol=1e-5)


@pytest.mark.parametrize("text", ["", " ", "\udcff", "\x00", "x" * 10_000, "👩‍👩‍👧", "\u200b"])
def test_any_text_has_a_place(text: str) -> None:
    assert np.isfinite(load_multilingual().embed_texts([text])).all()


def test_both_files_of_builtin_stay_below_64_megabytes() -> None:
    assert BUILTIN.weights.path is not None
    folder = MULTILINGUAL_FILE.parent
    files = [BUILTIN.weights.path, MULTILINGUAL_FILE, folder / "glossary.tsv.gz", folder / "english_words.txt.gz"]
    assert sum(file.stat().st_size for file in files) <= 64_000_000


def test_the_tower_takes_less_than_200_megabytes() -> None:
    program = (
        "import resource, numpy\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "from pipelines.models.multilingual import load_multilingual\n"
        "for text in ('ein Hund im Schnee', '一只狗在沙滩上奔跑', 'كلب يجري على الشاطئ'):\n"
        "    load_multilingual().embed_texts([text])\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 200


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "tower.safetensors"
    broken.write_bytes(MULTILINGUAL_FILE.read_bytes()[:5000])
    with pytest.raises(ModelError, match="reinstall"):
        MultilingualTower(broken)
