"""`python -m pipelines train`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .options import EXIT_INTERRUPTED, EXIT_REJECTED, AllowPrivateUrls, Device, Json, Templates, Weights, option


def train(
    csv: Annotated[
        str,
        typer.Argument(metavar="CSV", help="Columns path,caption or path,label, or all three; several rows an image."),
    ],
    out: Annotated[str, option("out", "Folder for the result: search with --model ./my-model afterwards.")],
    model: Annotated[str, option("model", "Model to start from: a name (see `models`) or a folder of `train`.")] = "",
    weights: Weights = "",
    from_scratch: Annotated[bool, option("from_scratch", "Start from random weights; needs --config.")] = False,
    config: Annotated[str, option("config", "JSON with the sizes of a new model; builtin.json comes with this.")] = "",
    templates: Templates = "",
    validation: Annotated[str, option("validation", "CSV to measure on, instead of --holdout.")] = "",
    holdout: Annotated[float, option("holdout", "Share of the images to measure on; never trained on.")] = 0.1,
    epochs: Annotated[int, option("epochs", "Passes over the images, each time with one of their texts.")] = 10,
    batch: Annotated[int, option("batch", "Images in memory at once.")] = 64,
    accumulate: Annotated[
        int,
        option("accumulate", "So many batches are compared with each other in one step; as exact as a larger batch."),
    ] = 1,
    lr: Annotated[float, option("lr", "Highest learning rate; -1: 1e-5, from scratch 1e-3.")] = -1.0,
    weight_decay: Annotated[float, option("weight_decay", "Of matrices.")] = 0.1,
    warmup: Annotated[float, option("warmup", "Share of the steps in which the rate rises; then a cosine to 0.")] = 0.1,
    freeze: Annotated[str, option("freeze", "Tower that stays as it is: none, image or text.")] = "none",
    unfreeze_after: Annotated[
        int, option("unfreeze_after", "So many epochs train only projections and last blocks.")
    ] = 0,
    wise_ft: Annotated[
        float, option("wise_ft", "Share of the tuned weights, the rest is the start's (WiSE-FT); -1: 0.5.")
    ] = -1.0,
    patience: Annotated[int, option("patience", "Stop after so many epochs without a better one; 0 never.")] = 0,
    augment: Annotated[
        str, option("augment", "Random changes of the images: none, strong (crop, mirror, colours); auto: by start.")
    ] = "auto",
    precision: Annotated[
        str, option("precision", "auto (half on GPUs, bf16 on CPUs that multiply in it), fp32, bf16, fp16.")
    ] = "auto",
    seed: Annotated[int, option("seed", "For the held-out part, the order and the texts.")] = 0,
    device: Device = "auto",
    checkpoint_every: Annotated[int, option("checkpoint_every", "Steps between checkpoints.")] = 100,
    restart: Annotated[bool, option("restart", "Start over where the folder holds another run.")] = False,
    rejects: Annotated[
        str, option("rejects", "CSV (id,path,reason) for unusable images. [default: rejected.csv]")
    ] = "",
    allow_private_urls: AllowPrivateUrls = False,
    json: Json = False,
) -> None:
    """Fine-tune a model on your own images with captions or labels, or train a small one from scratch.

    After each epoch the held-out images are searched for by their texts; the best epoch is what is written, with
    learning curves. Ctrl-C or a killed machine loses little: the same command goes on from the last checkpoint, and
    ends with the same weights. Fine-tuned weights are mixed with those of the start (--wise-ft), so that the model
    keeps what your images do not show.

    Example:  python -m pipelines train captions.csv --model clip_vit_base_patch32 --out ./my-model

    Example:  python -m pipelines train photos.csv --from-scratch --config builtin.json --epochs 40 --out ./small
    """
    from ..training.options import TrainOptions
    from ..training.train import train as run
    from .output import ProgressBar, print_training

    options = TrainOptions(
        csv, out, model, weights, from_scratch, config, templates, validation, holdout, epochs, batch, accumulate, lr,
        weight_decay, warmup, freeze, unfreeze_after, wise_ft, patience, augment, precision, seed, device,
        checkpoint_every, allow_private_urls,
    )  # fmt: skip
    with ProgressBar(hidden=json) as bar:
        outcome = run(
            options, restart=restart, rejects=rejects, on_progress=bar.show,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
    if outcome.card is None:
        print("interrupted; saved: run the same command again to go on", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED)
    print_training(out, outcome.card, outcome.rejected, outcome.rejects_file, as_json=json)
    raise typer.Exit(EXIT_REJECTED if outcome.rejected else 0)
