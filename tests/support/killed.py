"""An insert in a separate process that is killed between two writes to Milvus."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines import Settings, run_insert
from pipelines.errors import InputError
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close

# Each process is forked from one that has imported the slow libraries and has opened nothing.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.support.killed", "pipelines.indexing.run", "towhee", "torch", "pymilvus"])


def agree(gone: int, total: int) -> bool:
    """Agree to what `prune` would remove."""
    return True


def run_and_kill(source: Path, settings: Settings, options: dict[str, Any], at: int) -> None:
    """Run an insert that is killed with SIGKILL before write number `at`, counted from 1, if it makes that many."""
    close(settings.uri)  # only one process can open a Milvus Lite file
    process = _PROCESSES.Process(target=_run, args=(source, settings, options, at))
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL)


def _run(source: Path, settings: Settings, options: dict[str, Any], at: int) -> None:
    import torch

    torch.set_num_threads(1)
    left = at

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrote(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(*arguments)

        return wrote

    for name in ("upsert", "delete", "flush"):
        setattr(Collection, name, counted(getattr(Collection, name)))
    with suppress(InputError):  # `prune` refuses if no image of the source is there
        run_insert(source, settings, **options)
