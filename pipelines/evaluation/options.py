"""The options of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import TEMPLATES_HELP, AcceptsPaths, option


@dataclass(frozen=True)
class EvaluateOptions(AcceptsPaths):
    """What to measure. The fields have the names of the options of `image-search evaluate`."""

    labels: str = option("", "CSV with id or path, and a label. Default: the labels stored in the collection.")
    label_column: str = option("label", "Column of the CSV, or field of the collection, that holds the label.")
    captions: str = option("", "CSV with id or path, and caption; several rows per image are fine.")
    text_columns: tuple[str, ...] = option(
        (),
        "LANGUAGE=COLUMN, may be repeated or joined by commas (en=caption,de=caption_de): captions or labels in "
        "several languages, in columns of the CSVs or of the collection, measured side by side.",
    )
    templates: str = option("", TEMPLATES_HELP)
    queries: int = option(5000, "Most queries of one kind, drawn by --seed; 0 asks all.", at_least=0)
    seed: int = option(0, "Seed of the sample of queries and of the confidence intervals.", at_least=0)
    compare: tuple[str, ...] = option(
        (),
        "Measure the same images with this model too (may be repeated); here stands for every model whose weights are "
        "on this machine. They are indexed into a temporary file; a text model asks the collection itself.",
    )
    published: str = option("", "Public set in the collection (flickr30k, coco, flickr8k): prints its figures too.")
