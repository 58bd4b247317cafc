"""`image-search evaluate`: how well the search works on the user's own images."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import closing
from dataclasses import dataclass

from ..evaluation.options import EvaluateOptions
from ..settings import Settings, option
from .parser import Output
from .progress import ProgressBar


@dataclass(frozen=True)
class ReportOptions:
    """Where else to write the result."""

    report: str = option("", "Also write one page (.html) with charts and images inside to this file.")


def evaluate(options: EvaluateOptions, report: ReportOptions, settings: Settings, output: Output) -> None:
    """Measure how well the search works on your own images.

    The labels or captions of the images ask up to three questions: does the name of a class find its images, does an
    image find others of its class, and do captions find their images (and images their captions)? The rankings are
    exact, so the figures are those of the model. What the index loses against an exact search is reported apart, with
    latencies.

    recall@k: share of queries with a relevant answer among the first k. precision@10: share of relevant answers among
    ten. mAP@10: precision at each relevant answer, averaged over min(10, relevant answers). MRR: mean of 1 / rank of
    the first relevant answer.

    \b
    Examples:
      image-search evaluate --report report.html
      image-search evaluate --captions captions.csv --compare builtin
    """
    from ..evaluation.evaluate import evaluate as run
    from ..evaluation.report import Report, write_report

    models = tuple(name for names in options.compare for name in names.split(",") if name)
    if report.report:
        write_report(report.report, None)  # raises an error now rather than after measuring
    with closing(ProgressBar(hidden=output.json, unit="it")) as bar:
        result = Report(run(settings, dataclasses.replace(options, compare=models), bar.show), options.published)
    print(result.as_json() if output.json else result.as_text())
    if report.report:
        write_report(report.report, result.as_html(settings.allow_private_urls))
        print(f"report: {report.report}", file=sys.stderr)
