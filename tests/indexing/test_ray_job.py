"""A run as a job on a Ray cluster that was started separately, with its token, as docs/scale.md shows."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import Settings, run_insert
from pipelines.milvus.collection import Collection
from tests.support.insert import vectors
from tests.support.photos import Photos
from tests.support.program import free_port, program_env

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
RAY = (sys.executable, "-m", "ray.scripts.scripts")
PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
         "runtime-env-agent-port", "metrics-export-port", "ray-client-server-port")  # fmt: skip
Ray = Callable[..., str]


@pytest.fixture
def ray_job() -> Iterator[Ray]:
    """Start a cluster on ports of its own; return a function that runs `ray job …` on it."""
    pytest.importorskip("ray")
    pytest.importorskip("ray.dashboard.optional_deps", exc_type=ImportError, reason="no dashboard: 'ray[default]'")
    folder = tempfile.mkdtemp(prefix="ray")  # short, because the path of a socket has at most 107 characters
    ports = {name: str(free_port()) for name in PORTS}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # with image-search
    token = secrets.token_urlsafe(24)
    env = program_env({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_worker_niceness": "0", "PATH": path})
    options = [f"--{name}={port}" for name, port in ports.items()]
    head = subprocess.Popen(
        [*RAY, "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats", f"--temp-dir={folder}", *options],
        env=env, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def run(*arguments: str, tries: int = 1) -> str:
        address = f"--address=http://127.0.0.1:{ports['dashboard-port']}"
        command = [*RAY, "job", arguments[0], address, *arguments[1:]]
        for left in reversed(range(tries)):
            assert head.poll() is None
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
            if not done.returncode or not left:
                break
            time.sleep(2)
        return done.stdout + done.stderr

    try:
        wait_for(int(ports["dashboard-port"]), head)
        yield run
    finally:
        head.send_signal(signal.SIGTERM)  # it then ends the processes that it has started
        try:
            head.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(head.pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


def wait_for(port: int, head: subprocess.Popen[bytes]) -> None:
    """Wait until the port is open. Each check by Ray's own program would cost two seconds of CPU time."""
    for _ in range(1200):
        assert head.poll() is None
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    pytest.fail("Ray's dashboard does not come up")


def test_a_job_goes_on_without_the_machine_that_submitted_it(
    ray_job: Ray, photos: Photos, milvus_server: str, lite: Settings
) -> None:
    settings = Settings(uri=milvus_server, collection=f"job_{uuid.uuid4().hex[:8]}", model="builtin")
    command = ["image-search", "insert", str(photos.csv), "--uri", settings.uri, "--collection", settings.collection]
    command += ["--model", "builtin", "--runner", "ray", "--shards", "2"]
    job = settings.collection
    ray_job("submit", "--no-wait", f"--submission-id={job}", "--", *command, tries=10)  # Ray's job agent starts later
    said = ray_job("logs", "--follow", job)  # until the job ends
    assert "12 rows" in said
    assert "succeeded" in ray_job("status", job), said
    run_insert(photos.csv, lite)
    found, plain = vectors(settings), vectors(lite)
    assert found.keys() == plain.keys()
    assert all(found[key] @ plain[key] > 0.9999 for key in plain)
    Collection(settings.uri, settings.collection).drop()
