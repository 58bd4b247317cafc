"""`python -m pipelines evaluate`."""

from __future__ import annotations

from typing import Annotated

from ..settings import Settings
from .options import (
    DEFAULTS,
    AllowPrivateUrls,
    Collection,
    Device,
    Json,
    Model,
    Runtime,
    Templates,
    Token,
    Uri,
    Weights,
    not_negative,
    option,
)


def evaluate(
    labels: Annotated[
        str,
        option("labels", "CSV with id or path, and a label. Default: the labels stored in the collection."),
    ] = "",
    label_column: Annotated[
        str, option("label_column", "Column (or field of the collection) with the label.")
    ] = "label",
    captions: Annotated[
        str, option("captions", "CSV with id or path, and caption; several rows an image are fine.")
    ] = "",
    templates: Templates = "",
    queries: Annotated[
        int, option("queries", "At most so many queries of a kind, drawn by --seed; 0 asks all.")
    ] = 5000,
    seed: Annotated[int, option("seed", "For the sample of queries and for the intervals.")] = 0,
    compare: Annotated[
        list[str] | None,
        option(
            "compare",
            "Measure the same images with this model too (may be repeated); 'here' is every model whose weights are "
            "on this machine. They are indexed into a temporary file.",
        ),
    ] = None,
    published: Annotated[
        str,
        option(
            "published",
            "The collection is this public set (flickr30k, coco, flickr8k): print the published figures beside.",
        ),
    ] = "",
    report: Annotated[
        str,
        option("report", "Also write all of it to this file, as one page (.html) with charts and images inside."),
    ] = "",
    uri: Uri = DEFAULTS.uri,
    token: Token = DEFAULTS.token,
    collection: Collection = DEFAULTS.collection,
    model: Model = DEFAULTS.model,
    weights: Weights = DEFAULTS.weights,
    device: Device = DEFAULTS.device,
    runtime: Runtime = DEFAULTS.runtime,
    allow_private_urls: AllowPrivateUrls = False,
    json: Json = False,
) -> None:
    """Measure how well the search works on your own images, by their labels or captions.

    Three questions are asked, as far as there are labels or captions: does a class's name find its images, does a
    image find others of its class, do captions find their images (and images their captions)? The rankings are
    exact, so these figures are the model's; what the index loses against exact search is told apart, with latencies.

    recall@k: share of queries with a right answer among the first k. precision@10: share of right ones among ten.
    mAP@10: precision at each right answer, averaged over min(10, right ones). MRR: mean of 1 / first right rank.

    \b
    Examples:  python -m pipelines evaluate --report report.html
               python -m pipelines evaluate --captions captions.csv --compare clip_vit_base_patch16
    """
    from ..evaluation.evaluate import Options
    from ..evaluation.evaluate import evaluate as measure
    from ..evaluation.output import ProgressBars, print_evaluations
    from ..evaluation.report_file import ReportFile

    settings = Settings(
        uri, token, collection, model, weights, device, runtime=runtime, allow_private_urls=allow_private_urls
    )
    page = ReportFile(report) if report else None
    options = Options(
        labels, label_column, captions, templates, not_negative("queries", queries), not_negative("seed", seed),
        tuple(name for item in compare or () for name in item.split(",") if name), published,
    )  # fmt: skip
    with ProgressBars(hidden=json) as bars:
        evaluations = measure(settings, options, bars.start)
    print_evaluations(evaluations, published, as_json=json)
    if page is not None:
        from ..evaluation.html_report.page import render_page

        page.write(render_page(evaluations, published, allow_private_urls))
