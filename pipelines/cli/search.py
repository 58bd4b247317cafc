"""`image-search search`: print the nearest images."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InputError
from ..settings import Settings, option
from .parser import Output

if TYPE_CHECKING:
    from ..query import Part


@dataclass(frozen=True)
class SearchOptions:
    """What to search for."""

    text: tuple[str, ...] = option((), "", "[TEXT]...")
    image: tuple[str, ...] = option((), "An image to search for: a path or an address. May be repeated.")
    weight: tuple[float, ...] = option((), "Weight of each --image, in the same order; a negative one steers away.")
    like: tuple[str, ...] = option((), "Id of an image of the collection to search for. May be repeated.")
    k: int = option(10, "Number of hits.", "--k", "-k")
    offset: int = option(0, "Leave out this many hits first, to see the next page.")
    filter: str = option("", 'Only images whose columns match: label == "cat" and year >= 2020; see above.')
    min_score: float | None = option(
        None, "Leave out hits below this cosine. Scores of different models are not comparable, so off by default."
    )
    fold: float | None = option(None, "Show near duplicates, of at least this cosine, as one hit; 0.95 folds copies.")
    language: str = option("", "Language of the words, as de or zh. Default: told from their letters and words.")
    csv: bool = option(False, "Print CSV instead of a table.")


def search(options: SearchOptions, settings: Settings, output: Output) -> None:
    """Find images by words, by images, or by both together.

    \b
    Examples:
      image-search search "a white dog" -k 5
      image-search search "beach -people 2*sunset"
      image-search search "at night" --image a.jpg --image b.jpg \\
          --weight 1 --weight=-0.5

    \b
    In TEXT, at the start of a word and directly before a letter or a quote:
      -people  -"many people"    away from this
      +sunset                    a text of its own, added
      2*sunset  -0.5*people      with a weight
      id:42  -id:42              like (unlike) an image of the collection
    Everything else is plain words: "t-shirt", "- 5 degrees", "3-door car".

    \b
    In --filter, combined by and, or, not and ( ):
      label == "cat"             also != < <= > >=
      label in ["cat", "dog"]    also not in
      path under "/photos/2020"
      label startswith "ca"      Milvus Lite also has: label contains "at"
      year is empty              also is not empty
      featured                   also not featured, for true and false
    """
    if output.json and options.csv:
        raise InputError("give --json or --csv, not both")
    from ..query import Query

    query = Query(
        _parts(options), options.k, options.offset, options.filter, options.min_score, options.fold, options.language
    )
    from ..search.searcher import Searcher
    from .output import print_hits

    # A text that was cut is among the notes.
    logging.getLogger("pipelines.models.tokenizer").setLevel(logging.ERROR)
    searcher = Searcher(settings)
    form = "json" if output.json else "csv" if options.csv else "table"
    print_hits(searcher.search(query), searcher.field_names, form, with_folded=bool(options.fold))


def _parts(options: SearchOptions) -> tuple[Part, ...]:
    """Return the parts of the query: first those of the texts, then the images, then the ids."""
    from ..query import Part, parse_query

    images, weights = options.image, options.weight or (1.0,) * len(options.image)
    if len(weights) != len(images):
        raise InputError(f"give one --weight for each --image: there are {len(weights)} for {len(images)}")
    if not (options.text or images or options.like):
        raise InputError('give words, --image or --like: search "a white dog", or search --image dog.jpg')
    return (
        *(part for text in options.text for part in parse_query(text)),
        *(Part(image=image, weight=weight) for image, weight in zip(images, weights, strict=True)),
        *(Part(id=image_id) for image_id in options.like),
    )
