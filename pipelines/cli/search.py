"""`image-search search`: print the nearest images."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ..errors import ColumnsAwaited, InputError
from ..query.order import RELEVANCE
from ..query.query import BEST
from ..settings import Settings, option
from .parser import Output
from .progress import ProgressBar

if TYPE_CHECKING:
    from ..query import Query
    from ..search.results import Results
    from ..search.searcher import Searcher


_SHOWN_OF_FILES = ("taken", "camera", "place")


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
    sort: str = option(
        RELEVANCE, "relevance, date, name, path or a column, with :asc or :desc behind it: taken:desc; see above."
    )
    best: int = option(BEST, "Put this many of the nearest images into the order of --sort.", at_least=1)
    csv: bool = option(False, "Print CSV instead of a table.")


def search(options: SearchOptions, settings: Settings, output: Output) -> None:
    """Find images by words, by images, or by both together.

    \b
    Examples:
      image-search search "a white dog" -k 5
      image-search search --filter "taken >= 2021" --sort name
      image-search search "beach -people 2*sunset"
      image-search search "at night" --image a.jpg --image b.jpg \\
          --weight 1 --weight=-0.5

    \b
    In TEXT, at the start of a word and directly before a letter or a quote:
      -people  -"many people"    away from this
      +sunset                    a text of its own, added
      2*sunset  -0.5*people      with a weight
      id:42  -id:42              like (unlike) an image of the collection
      taken:2021-05              of this month; taken:2019..2021, -taken:2020
    Everything else is plain words: "t-shirt", "- 5 degrees", "3-door car".

    \b
    In --filter, combined by and, or, not and ( ):
      label == "cat"             also != < <= > >=
      label in ["cat", "dog"]    also not in
      path under "/photos/2020"
      label startswith "ca"      Milvus Lite also has: label contains "at"
      year is empty              also is not empty
      featured                   also not featured, for true and false

    Without TEXT, --image and --like all images of the filter are listed. --sort
    applies to them, or else to what was found: all hits of at least --min-score,
    or the --best ones. date is the column taken, and modified where that is
    empty; dates start with the newest.
    """
    if output.json and options.csv:
        raise InputError("give --json or --csv, not both")
    is_process = bool(click.get_current_context().obj)
    if is_process:
        gc.disable()  # the process ends before there is much to collect; imports alone would collect 200 times
    query = _query(options)
    from ..milvus.client_import import without_pandas
    from ..milvus.lite import is_lite
    from ..search.searcher import Searcher
    from .output import print_hits

    # The notes already report a text that was cut.
    logging.getLogger("pipelines.models.tokenizer").setLevel(logging.ERROR)
    form = "json" if output.json else "csv" if options.csv else "table"
    reads_table = bool(settings.paths)  # with pandas
    with without_pandas() if is_lite(settings.uri) and not reads_table else nullcontext():
        searcher = Searcher(settings)
        names = searcher.field_names
        if form == "table":  # only the most useful metadata of the files: JSON and CSV have all of it
            names = [field.name for field in searcher.fields if not field.from_file or field.name in _SHOWN_OF_FILES]
        print_hits(_answer(searcher, query), names, form, with_folded=bool(options.fold))
    if is_process:
        _leave()


def _answer(searcher: Searcher, query: Query) -> Results:
    """Search. While a server sends its columns, show its progress."""
    from ..milvus import calls

    bar = ProgressBar(unit="rows")
    try:
        while True:
            try:
                with nullcontext() if searcher.is_lite else calls.patience(calls.SHOWING):
                    return searcher.search(query)
            except ColumnsAwaited as late:
                bar.show(*late.progress, title="columns")
    finally:
        bar.close()


def _leave() -> None:
    """End the process as Python does, but do not tear down the libraries: that takes as long as the search itself."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # the reader has closed the pipe, which Python reports
        return
    atexit._run_exitfuncs()
    os._exit(0)


def _query(options: SearchOptions) -> Query:
    """Return the query: first the parts of the texts, then the images, then the ids."""
    from ..query import Part, Query, parse_line

    images, weights = options.image, options.weight or (1.0,) * len(options.image)
    if len(weights) != len(images):
        raise InputError(f"give one --weight for each --image: there are {len(weights)} for {len(images)}")
    lines = [parse_line(text) for text in options.text]
    parts = (
        *(part for line in lines for part in line.parts),
        *(Part(image=image, weight=weight) for image, weight in zip(images, weights, strict=True)),
        *(Part(id=image_id) for image_id in options.like),
    )
    dates = tuple(date for line in lines for date in line.dates)
    if not (parts or dates or options.filter or options.sort != RELEVANCE):
        raise InputError('give words, --image, --like or --filter: search "a white dog", or search --image dog.jpg')
    return Query(
        parts, options.k, options.offset, options.filter, options.min_score, options.fold, options.language,
        order=options.sort, best=options.best, dates=dates,
    )  # fmt: skip
