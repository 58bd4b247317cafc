"""Detect a text's language from its letters and words, and translate its everyday words into English."""

from __future__ import annotations

import gzip
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

# English names of the languages of `builtin`, then of those that are recognised only by their letters.
NAMES = {
    "ar": "Arabic", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "th": "Thai", "tr": "Turkish",
    "zh": "Chinese", "el": "Greek", "he": "Hebrew", "hi": "Hindi", "hy": "Armenian", "ka": "Georgian",
}  # fmt: skip
MULTILINGUAL = ("ar", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "zh")
# The languages that XLM-R was trained on (Conneau et al. 2020, table 6), and those of Crossmodal-3600 (Thapliyal et al.
# 2022), in which SigLIP 2 was measured.
XLM_R = (
    "af", "am", "ar", "as", "az", "be", "bg", "bn", "br", "bs", "ca", "cs", "cy", "da", "de", "el", "en", "eo", "es",
    "et", "eu", "fa", "fi", "fr", "fy", "ga", "gd", "gl", "gu", "ha", "he", "hi", "hr", "hu", "hy", "id", "is", "it",
    "ja", "jv", "ka", "kk", "km", "kn", "ko", "ku", "ky", "la", "lo", "lt", "lv", "mg", "mk", "ml", "mn", "mr", "ms",
    "my", "ne", "nl", "no", "om", "or", "pa", "pl", "ps", "pt", "ro", "ru", "sa", "sd", "si", "sk", "sl", "so", "sq",
    "sr", "su", "sv", "sw", "ta", "te", "th", "tl", "tr", "ug", "uk", "ur", "uz", "vi", "xh", "yi", "zh",
)  # fmt: skip
CROSSMODAL = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hr", "hu", "id", "it", "ja", "ko",
    "mi", "nl", "no", "pl", "pt", "qu", "ro", "ru", "sv", "sw", "te", "th", "tl", "tr", "uk", "vi", "zh",
)  # fmt: skip
# The languages of sentence-transformers' multilingual models, by their documentation, and of M-CLIP's, by their cards.
DISTILLED = (
    "ar", "bg", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gl", "gu", "he", "hi", "hr", "hu",
    "hy", "id", "it", "ja", "ka", "ko", "ku", "lt", "lv", "mk", "mn", "mr", "ms", "my", "nl", "no", "pl", "pt", "ro",
    "ru", "sk", "sl", "sq", "sr", "sv", "th", "tr", "uk", "ur", "vi", "zh",
)  # fmt: skip
M_CLIP = (
    "af", "am", "ar", "az", "bg", "bn", "bs", "ca", "cs", "da", "de", "el", "en", "es", "et", "fr", "hi", "hr", "hu",
    "id", "is", "it", "ja", "mk", "ml", "mr", "nl", "pl", "pt", "ro", "ru", "sl", "sq", "sr", "sv", "sw", "te", "tk",
    "tl", "tr", "ug", "uk", "ur", "uz", "vi", "xh", "zh",
)  # fmt: skip
_LATIN = ("de", "es", "fr", "it", "nl", "pl", "pt", "tr")
# Language by the first word of a letter's Unicode name. Kana come first: Japanese also uses Chinese characters.
_SCRIPTS = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CJK": "zh", "CYRILLIC": "ru", "ARABIC": "ar", "THAI": "th",
    "GREEK": "el", "HEBREW": "he", "DEVANAGARI": "hi", "ARMENIAN": "hy", "GEORGIAN": "ka",
}  # fmt: skip
_UNSPACED = ("ja", "th", "zh")  # no spaces between words
_LONGEST_ENTRY = 4  # words
_LONGEST_UNSPACED = 12  # characters


class Reading(NamedTuple):
    """The language of a text, and its English translation.

    language: its code; '' if its letters are Latin and its words unknown, for example names.
    english: the text in English words; '' if one of its words is not in the glossary.
    """

    language: str
    english: str = ""


def read_text(text: str, language: str = "", reader: str = "") -> Reading:
    """Detect the language of a text, and translate it word by word if the glossary has all its words.

    Args:
        language: the language, if it is known.
        reader: language of the user; it decides how to read words that English has, too ("Kind", "chat").
    """
    language = language[:2].lower() or _by_letters(text, reader) or _by_words(_words(text), reader)
    return Reading(language, text if language == "en" else _translate(text, language))


def _by_letters(text: str, reader: str) -> str:
    """Return the language of a text in letters that are not Latin; '' for Latin letters."""
    if text.isascii():
        return ""
    letters = Counter(unicodedata.name(letter, "").split(" ")[0] for letter in text if letter.isalpha())
    found = [language for script, language in _SCRIPTS.items() if letters[script]]
    if found and found[0] == "zh" and reader == "ja":
        return "ja"
    if found and (found[0] in (*_UNSPACED, "ko") or letters["LATIN"] * 2 <= letters.total()):
        return found[0]
    return ""


def _by_words(words: list[str], reader: str) -> str:
    """Return the language that has most of the words; the reader's if it has them all, and English on a tie.

    If English wins with less than half of the words, the language is unknown: ''.
    """
    is_english = [_is_english(word) for word in words]
    if all(is_english) and reader not in _LATIN:
        return "en"
    counts = {code: sum(word in _vocabulary()[code] for word in words) for code in (reader, *_LATIN) if code in _LATIN}
    if words and counts.get(reader) == len(words):
        return reader
    best = max(counts, key=counts.__getitem__)
    if counts[best] > sum(is_english):
        return best
    return "en" if 2 * sum(is_english) >= len(words) else ""


def _is_english(word: str) -> bool:
    """Return whether English has this word, as it is or without its ending."""
    known = _english()
    return word in known or any(
        word.endswith(end) and word.removesuffix(end) in known for end in ("s", "es", "ed", "ing")
    )


def _translate(text: str, language: str) -> str:
    entries = _glossary().get(language, {})
    if language == "zh" and not set(text) - set("".join(_glossary()["ja"])):
        entries = {**_glossary()["ja"], **entries}
    if language in _UNSPACED:
        tokens, separator, longest = (
            [letter for letter in text.casefold() if not letter.isspace()],
            "",
            _LONGEST_UNSPACED,
        )
    else:
        tokens, separator, longest = text.casefold().split(), " ", _LONGEST_ENTRY
    found: list[str] = []
    start = 0
    while start < len(tokens):
        sizes = range(min(longest, len(tokens) - start), 0, -1)
        size = next((size for size in sizes if separator.join(tokens[start : start + size]) in entries), 0)
        if not size:
            return ""
        found.append(entries[separator.join(tokens[start : start + size])])
        start += size
    return " ".join(found)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.casefold())


@cache
def _english() -> frozenset[str]:
    return frozenset(_read("english_words.txt.gz").split("\n"))


@cache
def _glossary() -> Mapping[str, dict[str, str]]:
    entries: dict[str, dict[str, str]] = {code: {} for code in MULTILINGUAL}
    for line in _read("glossary.tsv.gz").split("\n"):
        language, term, english = line.split("\t")
        entries[language][term] = english
    return entries


@cache
def _vocabulary() -> Mapping[str, frozenset[str]]:
    """Return the single words of the glossary's entries."""
    return {code: frozenset(word for term in _glossary()[code] for word in term.split()) for code in _LATIN}


def _read(name: str) -> str:
    return gzip.decompress(Path(__file__).with_name(name).read_bytes()).decode()
