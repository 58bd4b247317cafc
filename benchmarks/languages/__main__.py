"""Write what `builtin` finds in sixteen languages into its model card: `python -m benchmarks.languages --data DIR`.

DIR holds the evaluation sets `reverse_image_search` and `flickr8k_test`. The words (words.csv, names of classes)
and the sentences (sentences.csv, about images of Flickr8k's test split) were written for this measurement alone.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.card import CARD, put, run
from pipelines.models.languages import read_text
from pipelines.models.multilingual import load_multilingual
from pipelines.query import Part, Query
from pipelines.search.searcher import Searcher
from pipelines.settings import Settings

HERE = Path(__file__).parent
MARK = "<!-- printed by benchmarks.languages -->"
FIRST = 10


def read(name: str) -> tuple[list[str], dict[str, list[str]]]:
    """Return the first column of a CSV in this folder, and the texts of each language."""
    with (HERE / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first, *languages = rows[0]
    return [row[first] for row in rows], {language: [row[language] for row in rows] for language in languages}


class Images:
    """A collection, as a searcher and as unit vectors, float32[n, 256], in the order of `ids`."""

    def __init__(self, csv_file: Path, folder: str) -> None:
        uri = str(Path(folder, f"{csv_file.parent.name}.db"))
        run("insert", str(csv_file), "--uri", uri, "--model", "builtin")
        self.searcher = Searcher(Settings(uri=uri))
        rows = self.searcher.collection.query("id >= 0", ["id", "label", "embedding"], limit=2_000)
        self.ids = [str(row["id"]) for row in rows]
        self.labels = [row["label"] for row in rows]
        self.vectors = np.array([row["embedding"] for row in rows], np.float32)

    def search(self, texts: list[str], language: str = "") -> list[list[int]]:
        """Return the positions of the first ten images for each text, searched as the program does."""
        places = {image_id: place for place, image_id in enumerate(self.ids)}
        pages = [self.searcher.search(Query((Part(text),), FIRST, language=language)) for text in texts]
        return [[places[str(hit.id)] for hit in page.hits] for page in pages]

    def search_through_tower(self, texts: list[str]) -> list[list[int]]:
        """Return the same from the multilingual tower alone, without the glossary or a choice of tower."""
        scores = load_multilingual().embed_texts(texts) @ self.vectors.T
        return [[int(place) for place in np.argsort(-row)[:FIRST]] for row in scores]


def precision(images: Images, found: list[list[int]], right: list[str]) -> float:
    """Return the percentage of right images among the first ten; `a|b` stands for two right labels."""
    shares = [
        np.mean([images.labels[place] in labels.split("|") for place in places])
        for places, labels in zip(found, right, strict=True)
    ]
    return 100 * float(np.mean(shares))


def recall(images: Images, found: list[list[int]], own: list[str]) -> float:
    """Return the percentage of sentences whose own image is among the first ten."""
    return 100 * float(
        np.mean([one in [images.ids[place] for place in places] for places, one in zip(found, own, strict=True)])
    )


def table(data: Path) -> str:
    """Return the table: one row for each language."""
    labels, words = read("words.csv")
    own, sentences = read("sentences.csv")
    with tempfile.TemporaryDirectory() as folder:
        classes = Images(data / "reverse_image_search/reverse_image_search.csv", folder)
        captioned = Images(data / "flickr8k_test/images.csv", folder)
        rows = []
        for language in words:
            said = [
                precision(classes, classes.search(words[language]), labels),
                precision(classes, classes.search(words[language], language), labels),
                precision(classes, classes.search_through_tower(words[language]), labels),
                recall(captioned, captioned.search(sentences[language]), own),
                recall(captioned, captioned.search_through_tower(sentences[language]), own),
            ]
            known = sum(bool(read_text(word, language).english) for word in words[language])
            rows.append((language, known, *said))
    english = next(row for row in rows if row[0] == "en")
    lines = [
        f"{len(labels)} words and {len(own)} sentences a language; in brackets the share of English in that column.",
        "",
        "| language | words in the glossary | precision@10 | with `--language` | tower alone | sentences, recall@10 | "
        "tower alone |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for language, known, *figures in rows:
        cells = [f"{figure:.1f} % ({figure / of:.0%})" for figure, of in zip(figures, english[2:], strict=True)]
        lines.append(f"| {language} | {known} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and rewrite the card."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.languages", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation sets")
    printed = table(parser.parse_args().data.resolve())
    CARD.write_text(put(CARD.read_text(encoding="utf-8"), printed, MARK), encoding="utf-8")
    print(printed)


if __name__ == "__main__":
    main()
