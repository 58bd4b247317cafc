"""What no output may hold: tokens, passwords, and names of collections that nobody gave."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import Settings
from pipelines.cli.collection import CopyOptions
from pipelines.errors import CollectionNotFound, StoreError, StoreLocked
from pipelines.indexing.exchange import REBUILT, REEMBEDDED, sibling
from pipelines.milvus.collection import Collection
from pipelines.milvus.connection import close
from pipelines.settings import split_credentials
from tests.support.program import CommandResult, program_env

SECRET = "hunter2"


def test_no_repr_holds_a_secret() -> None:
    settings = Settings(uri=f"http://ann:{SECRET}@host:19530/db", auth=f"ann:{SECRET}")
    options = CopyOptions("a.db", f"http://ann:{SECRET}@host", from_token=SECRET, to_token=SECRET)
    collection = Collection(f"https://ann:{SECRET}@host", "images")
    for held in (settings, Settings(token=SECRET), collection, Collection("http://host", "images", SECRET)):
        assert SECRET not in repr(held)
    assert (settings.uri, settings.token) == ("http://host:19530/db", f"ann:{SECRET}")
    assert (collection.uri, collection.token) == ("https://host", f"ann:{SECRET}")
    assert SECRET not in settings.command("insert photos/")
    assert SECRET not in repr(options)


@pytest.mark.parametrize(
    ("uri", "parts"),
    [("./search.db", ("./search.db", "")), ("/a@b/c.db", ("/a@b/c.db", "")), ("http://h:1/db", ("http://h:1/db", "")),
     ("http://u:p@h:1/d@b", ("http://h:1/d@b", "u:p")), ("http://u:p@ss@h", ("http://h", "u:p@ss"))],
)  # fmt: skip
def test_credentials_are_taken_out_of_an_address(uri: str, parts: tuple[str, str]) -> None:
    assert split_credentials(uri) == parts
    assert split_credentials(uri, "given") == (parts[0], "given")


@pytest.mark.parametrize("arguments", [["search", "a dog"], ["info"], ["drop", "--yes"], ["insert", "nothing.csv"]])
def test_no_command_prints_the_password_of_an_address(
    quick_command: Callable[..., CommandResult], arguments: list[str]
) -> None:
    done = quick_command(*arguments, "--uri", f"http://ann:{SECRET}@127.0.0.1:1")
    assert done.status
    assert SECRET not in done.out + done.err


@pytest.mark.parametrize("option", ["--token", "--auth", "--from-token", "--to-token"])
def test_no_option_takes_a_secret_itself(
    quick_command: Callable[..., CommandResult], tmp_path: Path, option: str
) -> None:
    arguments = {"--auth": ["serve"], "--token": ["info"]}.get(option, ["copy", "--from", "a.db", "--to", "b.db"])
    for given in ([option, f"ann:{SECRET}"], [f"{option}=ann:{SECRET}"]):
        done = quick_command(*arguments, *given)
        assert (done.status, done.err.count("\n")) == (2, 1)
        assert f"give {option}-file FILE, or set IMAGE_SEARCH_{option[2:].upper().replace('-', '_')}" in done.err
        assert SECRET not in done.out + done.err
        assert f"{option} " not in quick_command(arguments[0], "--help").out
    missing = quick_command(*arguments, f"{option}-file", tmp_path / "none")
    assert (missing.status, missing.err.count("\n")) == (2, 1)


@pytest.mark.parametrize(("option", "token"), [("--uri", "token"), ("--from", "from-token"), ("--to", "to-token")])
def test_no_address_on_the_command_line_holds_a_password(
    quick_command: Callable[..., CommandResult], option: str, token: str
) -> None:
    address = f"http://ann:{SECRET}@127.0.0.1:1"
    given = {"--from": "a.db", "--to": "b.db", option: address}
    arguments = [f"{name}={value}" for name, value in given.items() if option != "--uri" or name == option]
    done = quick_command("info" if option == "--uri" else "copy", *arguments)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert f"give --{token}-file FILE, or set IMAGE_SEARCH_{token.upper().replace('-', '_')}" in done.err
    assert SECRET not in done.out + done.err


def test_an_address_of_the_environment_may_hold_a_password(quick_command: Callable[..., CommandResult]) -> None:
    done = quick_command("info", env={"IMAGE_SEARCH_URI": f"http://ann:{SECRET}@127.0.0.1:1"})
    assert done.status == 3
    assert "127.0.0.1:1" in done.err
    assert SECRET not in done.out + done.err


def test_a_secret_is_read_from_its_file(quick_command: Callable[..., CommandResult], tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"ann:{SECRET}\n")
    done = quick_command("info", "--uri", "http://127.0.0.1:1", "--token-file", tmp_path / "token")
    assert done.status == 3
    assert SECRET not in done.out + done.err


def test_who_has_a_file_open_is_told_without_secrets(lite: Settings, tmp_path: Path) -> None:
    (tmp_path / "h.py").write_text(
        "import sys\nfrom milvus_lite.server_manager import server_manager_instance as manager\n"
        "manager.start_and_get_uri(sys.argv[-1])\nprint('open', flush=True)\nsys.stdin.read()\n"
    )
    for option in (["--auth", f"ann:{SECRET}"], [f"--token={SECRET}"]):
        command = [sys.executable, "h.py", *option, lite.uri]
        with subprocess.Popen(
            command, cwd=tmp_path, env=program_env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            with pytest.raises(StoreLocked, match=rf"\(pid {process.pid}: .* h.py {option[0][:6]}") as error:
                Collection(lite.uri, lite.collection).exists()
            assert SECRET not in str(error.value)
            process.communicate()


@pytest.mark.long
@pytest.mark.parametrize("suffix", [*REEMBEDDED, *REBUILT])
def test_errors_name_the_collection_as_people_do(lite: Settings, suffix: str) -> None:
    Collection(lite.uri, "other").create(8, ())
    inner = sibling(Collection(lite.uri, lite.collection), suffix)
    with pytest.raises(CollectionNotFound, match="there is no collection 'images' in") as error:
        inner.describe()
    assert error.value.collection == "images"
    with pytest.raises(StoreError) as failed:
        inner.rename("x")
    assert suffix not in str(failed.value)
    close(lite.uri)
