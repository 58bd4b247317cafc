"""A run spread over a Ray cluster: a task for each shard, and one flush and one index build at the end."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError, ModelUnavailable, SearchError, StoreUnavailable
from ..fetch.read import is_remote
from ..fields import KEY, SOURCE
from ..milvus.calls import PATIENT
from ..milvus.collection import Collection
from ..milvus.connection import connect
from ..milvus.index import Index
from ..milvus.lite import is_lite
from ..settings import Settings
from ..sources.reject_list import Rejected, read_rejects
from ..sources.source import MAX_SHARDS, Row
from .prune import source_name
from .reject_file import RejectFile
from .run import FILL, PREPARE, finish_run, run_insert
from .summary import Progress, Summary, add_up

RETRIES = 3  # of a shard whose process was killed, or that lost Milvus or the model server
_REPORT_SECONDS = 1.0
_STOP_SECONDS = 60.0  # to store the batches in progress after Ctrl-C


class Cluster(NamedTuple):
    """Where and how a run is spread.

    address: of a Ray cluster; '' starts one on this machine, unless RAY_ADDRESS names one (as `ray job submit` does).
    cpus_per_shard: cores that a shard takes on its node, and its number of threads unless the settings name one.
    """

    shards: int
    address: str = ""
    cpus_per_shard: int = 1


class Report(NamedTuple):
    """Progress of a shard: its summary so far, its number of rows and, at its end, what it rejected."""

    shard: str
    summary: Summary
    total: int = 0
    rejected: tuple[Rejected, ...] = ()


def run_on_ray(
    source: str, settings: Settings, cluster: Cluster, *,
    rejects: str = "", index: Index | None = None, to: str = "", on_progress: Progress | None = None, **options: Any,
) -> Summary:  # fmt: skip
    """Index a source in shards, each by `run_insert`. A killed run continues when it is started again.

    The nodes need this package, and the source and the images under the same paths.

    Args:
        options: options of `run_insert` that can be used with shards.

    Raises:
        InputError: the options do not go together, ray is not installed, or no cluster answers.
        SearchError: as `run_insert`, from any shard; the others are stopped. Only a lost server is retried.
    """
    if is_lite(settings.uri) and not to:
        raise InputError("a Milvus Lite file belongs to one process: --runner ray needs a Milvus server, or --to")
    if not 1 <= cluster.shards <= MAX_SHARDS:
        raise InputError(f"--shards is a number from 1 to {MAX_SHARDS}, not {cluster.shards}")
    source, to = (path if not path or is_remote(path) else os.path.abspath(path) for path in (source, to))
    reject_file = RejectFile(rejects, source_name(source))
    settings = replace(settings, threads=settings.threads or cluster.cpus_per_shard)
    start = time.perf_counter()
    with _connected(cluster) as ray:
        total = _run_shards(ray, cluster, (source, settings, {**options, "to": to}), index, reject_file, on_progress)
        if not (to or total.interrupted):
            _wait_for_milvus(settings)
            finish_run(Collection(settings.uri, settings.collection, settings.token), total, index)
    reject_file.finish(is_whole=not total.interrupted)
    total.rejects_file = reject_file.written_to
    total.seconds = round(time.perf_counter() - start, 3)
    total.images_per_second = round((total.inserted + total.updated) / total.seconds, 1)
    return total


def _run_shards(
    ray: Any, cluster: Cluster, run: tuple[str, Settings, dict[str, Any]], index: Index | None,
    reject_file: RejectFile, on_progress: Progress | None,
) -> Summary:  # fmt: skip
    """Run all shards and return their summaries as one, which is `interrupted` after Ctrl-C."""
    board = ray.remote(num_cpus=0)(_Board).remote()
    task = ray.remote(
        num_cpus=cluster.cpus_per_shard, max_retries=RETRIES, retry_exceptions=[StoreUnavailable, ModelUnavailable],
        scheduling_strategy="SPREAD",
    )(_run_shard)  # fmt: skip
    first = Report("", Summary(run[0], run[1].collection, ""))
    ended: dict[str, Report] = {}
    running: list[Any] = []

    def total() -> Summary:
        reports = {**ray.get(board.read.remote()), **ended}
        return add_up(first.summary, [report.summary for report in reports.values()])

    try:
        running = [task.remote(board, "", *run, index)]
        first = ray.get(running[0])
        running = [task.remote(board, f"{number + 1}/{cluster.shards}", *run, None) for number in range(cluster.shards)]
        while running:
            done, running = ray.wait(running, timeout=_REPORT_SECONDS)
            for report in ray.get(done):
                ended[report.shard] = report
                for rejected in report.rejected:
                    row = Row(0, rejected.path, 0, {KEY: rejected.id, SOURCE: rejected.source})
                    reject_file.add(row, rejected.reason)
            if on_progress:
                on_progress(total(), first.total)
    except KeyboardInterrupt:
        _stop(ray, running)
        first.summary.interrupted = True
    except ray.exceptions.RayError as error:
        _stop(ray, running)
        cause = getattr(error, "cause", None)
        if isinstance(cause, SearchError):
            raise cause from None
        raise SearchError(f"a shard did not end well on Ray: {' '.join(str(error).split())[:300]}") from error
    return total()


def _stop(ray: Any, running: list[Any]) -> None:
    """Let the shards store the batches in progress, and wait until they have."""
    if not running:
        return
    running = ray.wait(running, num_returns=len(running), timeout=0)[1]  # cancelling a task that has ended kills Ray
    for task in running:
        ray.cancel(task)
    if running:
        ray.wait(running, num_returns=len(running), timeout=_STOP_SECONDS)


class _Board:
    """An actor that knows the progress of each shard."""

    def __init__(self) -> None:
        self._reports: dict[str, Report] = {}

    def note(self, report: Report) -> None:
        self._reports[report.shard] = report

    def read(self) -> dict[str, Report]:
        return self._reports


def _run_shard(
    board: Any, shard: str, source: str, settings: Settings, options: dict[str, Any], index: Index | None
) -> Report:
    """Run one shard, or with '' the preparation for all shards. Runs in a process of the cluster."""
    noted = 0.0
    expected = 0

    def note(summary: Summary, total: int) -> None:
        nonlocal noted, expected
        expected = total
        if shard and time.monotonic() > noted + _REPORT_SECONDS:
            noted = time.monotonic()
            board.note.remote(Report(shard, summary))

    if shard and not options["to"]:
        _wait_for_milvus(settings)
    with tempfile.TemporaryDirectory() as folder:
        rejects = Path(folder, "rejected.csv")
        summary = run_insert(
            source, settings, shard=shard, rejects=str(rejects), index=index, on_progress=note,
            stage=FILL if shard else PREPARE, **options,
        )  # fmt: skip
        if summary.interrupted:  # otherwise the task would count as done
            board.note.remote(Report(shard, summary))
            raise KeyboardInterrupt
        return Report(shard, summary, expected, tuple(read_rejects(rejects) or ()) if rejects.exists() else ())


def _wait_for_milvus(settings: Settings) -> None:
    """Connect to Milvus. Retry for as long as any call of an insert waits for a server that cannot be reached."""
    until = time.monotonic() + PATIENT.gone
    while True:
        try:
            connect(settings.uri, settings.token)
            return
        except StoreUnavailable:  # after five seconds, enough to detect a wrong address
            if time.monotonic() > until:
                raise


def _refuse_silent(address: str) -> None:
    """Raise InputError if nothing listens at the address: Ray itself would retry for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise InputError(f"no Ray cluster answers at {address}: {error}") from error


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    """Connect to the cluster, or start one. Ray's output goes to stderr, because stdout may hold JSON."""
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise InputError("--runner ray needs one more package: pip install ray") from error
    _refuse_silent(cluster.address)
    address = cluster.address or os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        # Without an address Ray would join this machine's last cluster, and wait for it even if it has ended.
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
        cpus = ray.cluster_resources().get("CPU", 0)
        if own and cpus < cluster.cpus_per_shard:
            raise InputError(f"--cpus-per-shard {cluster.cpus_per_shard} is more than this machine's {cpus:g}")
        yield ray
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"Ray at {cluster.address or 'this machine'} cannot be used: {reason}") from error
    finally:
        ray.shutdown()
        os.dup2(stdout, 1)
        os.close(stdout)
