"""Every command runs with a password in each place that may hold one; nothing that it leaves shows the password."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import psutil
import pytest

from pipelines.cli.commands import group
from pipelines.settings import Settings, env_name, split_credentials
from tests.support.photos import Photos
from tests.support.program import CommandResult, program_env, run_code

SECRET = "hunter2"
COMMANDS: dict[str, click.Command] = group.commands
AWAY = f"http://ann:{SECRET}@127.0.0.1:1"
# The variable of each secret option of the parser, with a value that holds the secret.
SECRETS = {
    env_name(parameter.name or ""): f"ann:{SECRET}"
    for command in COMMANDS.values()
    for parameter in command.params
    if parameter.opts[0].endswith(("token-file", "auth-file"))
}
KEYS = {"AWS_ACCESS_KEY_ID": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": SECRET, "HF_TOKEN": SECRET}
# What a command needs besides its addresses to reach Milvus, or to fail earlier; a new command must be added here.
ARGUMENTS: dict[str, list[str]] = {
    "insert": ["{csv}", "--model", "builtin"], "search": ["a square"], "serve": ["--port", "0"],
    "evaluate": [], "train": ["{csv}", "--out", "{photos}/out", "--model", "none"], "info": [],
    "copy": ["--from", "{lite}", "--to", "{photos}/t.db"], "export": ["{photos}/vectors"],
    "import": ["{photos}/vectors", "--model", "builtin"], "prune": ["--yes"], "drop": ["--yes"], "models": [],
    "export-model": ["{photos}/exported", "--model", "none", "--format", "onnx"],
}  # fmt: skip


def test_every_command_and_every_secret_is_tried() -> None:
    assert set(ARGUMENTS) == set(COMMANDS)
    assert set(SECRETS) == {f"IMAGE_SEARCH_{name}" for name in ("TOKEN", "AUTH", "FROM_TOKEN", "TO_TOKEN")}
    hidden = {field.name for field in dataclasses.fields(Settings) if not field.repr}
    assert hidden == {"token", "auth"}


def told(done: CommandResult) -> str:
    assert "Traceback" not in done.out + done.err
    return done.out + done.err


def arguments_of(name: str, photos: Photos) -> list[str]:
    folder = photos.csv.parent
    return [text.format(csv=photos.csv, photos=folder, lite=folder / "s.db") for text in ARGUMENTS[name]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ARGUMENTS)
def test_no_command_shows_a_secret_where_milvus_is_away(
    command: Callable[..., CommandResult], photos: Photos, name: str
) -> None:
    env = {**SECRETS, **KEYS, "IMAGE_SEARCH_URI": AWAY}
    given = arguments_of(name, photos)
    if name == "copy":
        given = ["--from", f"{split_credentials(AWAY)[0]}", "--to", f"{split_credentials(AWAY)[0]}/other"]
    done = command(name, *given, env=env)
    assert SECRET not in told(done)
    assert (done.status, done.err.count("\n")) == ((0, 0) if name == "models" else (done.status or 1, 1)), done.err


@pytest.mark.long
def test_no_command_shows_a_secret_where_all_goes_well(command: Callable[..., CommandResult], photos: Photos) -> None:
    folder, env = photos.csv.parent, {**SECRETS, **KEYS}
    env["IMAGE_SEARCH_URI"] = str(folder / "s.db")
    for name in ("insert", "search", "info", "evaluate", "export", "import", "copy", "prune", "drop"):
        done = command(name, *arguments_of(name, photos), env=env)
        assert done.status == 0, (name, done.err)
        assert SECRET not in told(done), name
    left = [file for file in folder.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    assert not left


@pytest.mark.long
def test_the_process_of_a_page_and_those_it_starts_show_no_secret(
    command: Callable[..., CommandResult], photos: Photos
) -> None:
    folder, log = photos.csv.parent, photos.csv.parent / "log"
    secrets = folder / "secrets"
    secrets.write_text(f"ann:{SECRET}\n")
    options = ["--auth-file", str(secrets), "--token-file", str(secrets), "--uri", str(folder / "s.db"), "--port", "0"]
    given = [sys.executable, "-m", "pipelines", "serve", str(folder), "--model", "builtin", *options]
    with open(log, "w") as output, subprocess.Popen(given, env=program_env(), stdout=output, stderr=output) as page:
        try:
            seen = set[str]()
            for _ in range(600):
                for process in [psutil.Process(page.pid), *psutil.Process(page.pid).children(recursive=True)]:
                    seen.add(" ".join(process.cmdline()))
                if any("images.worker" in line for line in seen):
                    break
                time.sleep(0.1)
            assert any("images.worker" in line for line in seen), log.read_text()
            assert not [line for line in seen if SECRET in line]
        finally:
            page.terminate()
    assert "Search page" in log.read_text()
    assert SECRET not in log.read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_on_ray_shows_no_secret(command: Callable[..., CommandResult], photos: Photos) -> None:
    pytest.importorskip("ray")
    folder = photos.csv.parent
    given = ["--runner", "ray", "--shards", "2", "--to", str(folder / "shards")]
    with tempfile.TemporaryDirectory(prefix="ray") as logs:  # a short name, because of Ray's sockets
        env = {**SECRETS, **KEYS, "IMAGE_SEARCH_URI": str(folder / "s.db"), "RAY_TMPDIR": logs}
        done = command("insert", *arguments_of("insert", photos), *given, env=env, timeout=800)
        assert done.status == 0, done.err
        assert SECRET not in told(done)
        left = [file for place in (folder, Path(logs)) for file in place.rglob("*") if file.is_file()]
        assert any("raylet" in file.name for file in left)
        assert not [file for file in left if SECRET.encode() in file.read_bytes()]


def test_a_traceback_with_all_values_shows_no_secret() -> None:
    """Print a traceback with the variables of every frame, as some tools do after an unexpected error."""
    code = (
        "import traceback; from pipelines import Settings; from pipelines.milvus.collection import Collection\n"
        "from pipelines.cli.collection import CopyOptions; from pipelines.settings import read_options\n"
        "settings = read_options(Settings, {}); options = read_options(CopyOptions, {'source': 'a', 'target': 'b'})\n"
        "collection = Collection(settings.uri, 'c', settings.token)\n"
        "def fail(*values): raise RuntimeError(*values)\n"
        "try: fail(settings, options, collection)\n"
        "except RuntimeError as error:\n"
        "    print(''.join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))\n"
        "    print(error)"
    )
    done = run_code(code, env={**SECRETS, "IMAGE_SEARCH_URI": AWAY})
    assert "Settings(" in done.out, done.err
    assert SECRET not in done.out + done.err
