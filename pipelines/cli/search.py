"""`python -m pipelines search`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..settings import Settings
from .options import (
    DEFAULTS,
    AllowPrivateUrls,
    Collection,
    Device,
    ExactPreprocess,
    Json,
    Model,
    Runtime,
    Token,
    Uri,
    Weights,
    option,
)

if TYPE_CHECKING:
    from ..query import Part


def search(
    text: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="What to look for; several are added up.")
    ] = None,
    image: Annotated[
        list[str] | None,
        option("image", "An image to look for, too or instead: a path or an address. May be repeated."),
    ] = None,
    weight: Annotated[
        list[float] | None, option("weight", "The weight of each --image, in the same order; negative steers away.")
    ] = None,
    like: Annotated[
        list[int] | None, option("like", "The id of an image of the collection to look for. May be repeated.")
    ] = None,
    k: Annotated[int, option("k", "Number of hits.", "-k")] = 10,
    offset: Annotated[int, option("offset", "Leave out the first so many hits: the next page.")] = 0,
    filter: Annotated[
        str, option("filter", 'Only images whose columns say so: label == "cat" and year >= 2020; see above.')
    ] = "",
    min_score: Annotated[
        float | None,
        option("min_score", "Leave out hits below this cosine. Not comparable between models, so off by default."),
    ] = None,
    fold: Annotated[
        float | None, option("fold", "Show near duplicates, of at least this cosine, as one hit; 0.95 folds copies.")
    ] = None,
    uri: Uri = DEFAULTS.uri,
    token: Token = DEFAULTS.token,
    collection: Collection = DEFAULTS.collection,
    model: Model = DEFAULTS.model,
    weights: Weights = DEFAULTS.weights,
    device: Device = DEFAULTS.device,
    runtime: Runtime = DEFAULTS.runtime,
    exact_preprocess: ExactPreprocess = DEFAULTS.exact_preprocess,
    allow_private_urls: AllowPrivateUrls = False,
    json: Json = False,
    csv: Annotated[bool, option("csv", "Print CSV instead of a table.")] = False,
) -> None:
    """Find images by words, by images, or by both together.

    \b
    Examples:  python -m pipelines search "a white dog" -k 5
               python -m pipelines search "beach -people 2*sunset"
               python -m pipelines search "at night" --image street.jpg --image crowd.jpg --weight 1 --weight=-0.5

    \b
    In TEXT, at the start of a word and directly before a letter or a quote:
      -people  -"many people"     away from this
      +sunset                     a text of its own, added
      2*sunset  -0.5*people       with a weight
      id:42  -id:42               like (unlike) an image of the collection
    Everything else is plain words: "t-shirt", "- 5 degrees", "3-door car".

    \b
    In --filter, combined by and, or, not and ( ):
      label == "cat"   != < <= > >=      label in ["cat", "dog"]   not in
      path under "/photos/2020"          label startswith "ca"     label contains "at" (Milvus Lite)
      year is empty   is not empty       featured   not featured   (columns of true and false)
    """
    if json and csv:
        raise InputError("give --json or --csv, not both")
    from ..query import Query

    query = Query(_parts(text or [], image or [], weight or [], like or []), k, offset, filter, min_score, fold)
    from ..search.searcher import Searcher
    from .output import print_hits

    settings = Settings(
        uri, token, collection, model, weights, device,
        runtime=runtime, exact_preprocess=exact_preprocess, allow_private_urls=allow_private_urls,
    )  # fmt: skip
    logging.getLogger("pipelines.models.tokenizer").setLevel(logging.ERROR)  # a text that was cut is among the notes
    searcher = Searcher(settings)
    print_hits(searcher.search(query), searcher.field_names, "json" if json else "csv" if csv else "table", bool(fold))


def _parts(texts: list[str], images: list[str], weights: list[float], ids: list[int]) -> tuple[Part, ...]:
    """The query's parts: those of the texts first, then the images, then the ids."""
    if weights and len(weights) != len(images):
        raise InputError(f"give one --weight for each --image: there are {len(weights)} for {len(images)}")
    if not (texts or images or ids):
        raise InputError('give words, --image or --like: search "a white dog", or search --image dog.jpg')
    from ..query import Part, parse_query

    parts: list[Any] = [part for text in texts for part in parse_query(text)]
    parts += [
        Part(image=image, weight=value) for image, value in zip(images, weights or [1.0] * len(images), strict=True)
    ]
    return (*parts, *(Part(id=number) for number in ids))
