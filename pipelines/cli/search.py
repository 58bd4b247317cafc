"""`python -m pipelines search`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import InputError
from ..settings import Settings
from .options import (
    DEFAULTS,
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


def search(
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="What to look for, in words.")] = "",
    image: Annotated[str, option("image", "A picture to look for instead of words.")] = "",
    k: Annotated[int, option("k", "Number of hits.", "-k")] = 10,
    filter: Annotated[
        str, option("filter", 'Milvus filter on the CSV\'s columns, for example: label == "cat" and year >= 2020')
    ] = "",
    uri: Uri = DEFAULTS.uri,
    token: Token = DEFAULTS.token,
    collection: Collection = DEFAULTS.collection,
    model: Model = DEFAULTS.model,
    weights: Weights = DEFAULTS.weights,
    device: Device = DEFAULTS.device,
    runtime: Runtime = DEFAULTS.runtime,
    exact_preprocess: ExactPreprocess = DEFAULTS.exact_preprocess,
    json: Json = False,
) -> None:
    """Find pictures by words or by picture.

    Example:  python -m pipelines search "a white dog" -k 5
    """
    if bool(text.strip()) == bool(image):
        raise InputError('give either words or --image: search "a white dog", or search --image dog.jpg')
    if k < 1:
        raise InputError("-k must be at least 1")
    from ..report import print_hits
    from ..search import Searcher

    settings = Settings(
        uri, token, collection, model, weights, device, runtime=runtime, exact_preprocess=exact_preprocess
    )
    searcher = Searcher(settings)
    results = searcher.by_image(image, k, filter) if image else searcher.by_text(text, k, filter)
    print_hits(results, searcher.field_names, as_json=json)
