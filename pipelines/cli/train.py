"""`image-search train`: fine-tune a model, or train a small one."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from ..errors import EXIT_INTERRUPTED, EXIT_NOT_BETTER, EXIT_REJECTED
from ..settings import option
from ..training.options import TrainOptions
from .parser import Output
from .progress import ProgressBar


@dataclass(frozen=True)
class RunOptions:
    """How to run the training."""

    restart: bool = option(False, "Start over if the folder holds another run.")
    rejects: str = option("", "CSV (id,path,reason,source) for images that cannot be used. [default: rejected.csv]")


def train(options: TrainOptions, run: RunOptions, output: Output) -> int:
    """Fine-tune a model on your own captioned or labelled images.

    CSV has the columns path,caption or path,label, or all three; several rows per image are fine.

    A small model can also be trained from scratch. After each epoch, the held-out images are searched for by their
    texts; the best epoch is what is written, with learning curves. If none is better than the start, the start is
    written, and the exit status is 4. Run the same command again after Ctrl-C or a crash:
    it continues from the last checkpoint and ends with the same weights. Fine-tuned weights are mixed with those of
    the start (--wise-ft), so that the model keeps what your images do not show.

    \b
    Examples:
      image-search train captions.csv --model clip_vit_base_patch32 \\
          --out ./my-model
      image-search train photos.csv --from-scratch --config builtin.json \\
          --epochs 40 --out ./small
    """
    from ..training.train import train as train_model
    from .output import print_training

    with closing(ProgressBar(hidden=output.json)) as bar:
        outcome = train_model(options, restart=run.restart, rejects=run.rejects, on_progress=bar.show, say=bar.say)
    if outcome.card is None:
        bar.say("interrupted; saved: run the same command again to go on")
        return EXIT_INTERRUPTED
    print_training(options.out, outcome.card, outcome.rejected, outcome.rejects_file, as_json=output.json)
    if outcome.card["best_epoch"] == 0:
        return EXIT_NOT_BETTER
    return EXIT_REJECTED if outcome.rejected else 0
