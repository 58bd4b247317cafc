"""Weights files from real local servers: complete and verified, resumed after a cut, or refused in one line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ModelError
from pipelines.models import weights
from pipelines.models.fingerprint import fingerprint, sha256_of
from pipelines.models.registry import BUILTIN
from pipelines.models.spec import Weights
from pipelines.models.weights import locate
from tests.support import families
from tests.support.hub_server import HubServer
from tests.support.photos import Photos
from tests.support.program import CommandResult, program_env, run_code

DATA = bytes(range(256)) * 8192  # 2 MB, so that a cut falls between two blocks
SHA256 = hashlib.sha256(DATA).hexdigest()
REPOSITORY, HUB_FILE = "someone/tiny-clip", "model.safetensors"


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer(DATA) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IMAGE_SEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_builtin_weights_ship_and_are_small() -> None:
    path = locate(BUILTIN)
    assert path.stat().st_size < 25_000_000
    assert path.parent == Path(weights.__file__).parent


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no weights file .*/nothing\.pt$"):
        locate(BUILTIN, str(tmp_path / "nothing.pt"))
    gone = dataclasses.replace(BUILTIN, weights=Weights("x", path=tmp_path / "gone.safetensors"))
    with pytest.raises(ModelError, match=r"gone\.safetensors, which ships with this package, is gone"):
        locate(gone)


def test_a_large_file_is_hashed_once_until_it_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.models.fingerprint.REMEMBER_BYTES", 1)
    hashed: list[Path] = []
    monkeypatch.setattr("pipelines.models.fingerprint.sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"one")
    assert fingerprint(path) == fingerprint(path) == hashlib.sha256(b"one").hexdigest()
    assert len(hashed) == 1
    path.write_bytes(b"other")
    assert fingerprint(path) == hashlib.sha256(b"other").hexdigest()
    assert len(hashed) == 2
    (note,) = (cache / "fingerprints").iterdir()
    note.write_text("{damaged")
    assert fingerprint(path) == hashlib.sha256(b"other").hexdigest()


# --- OpenAI's own files ----------------------------------------------------------------------------------------------


def download(url: str, sha256: str = SHA256) -> Path:
    return locate(dataclasses.replace(BUILTIN, name="tiny", weights=Weights("weights.pt", sha256, url=url)))


def refusal(url: str, cache: Path, sha256: str = SHA256) -> str:
    """Return the one line with which a download fails; check that no file is left under the final name."""
    with pytest.raises(ModelError) as caught:
        download(url, sha256)
    message = str(caught.value)
    assert "\n" not in message
    assert not (cache / "weights.pt").exists()
    for part in ("tiny", url, f"put it at {cache / 'weights.pt'}", "--model builtin"):
        assert part in message
    return message


def test_a_file_is_downloaded_into_the_cache_once(server: HubServer, cache: Path) -> None:
    for _ in range(2):
        assert download(server.url) == cache / "weights.pt"
        assert (cache / "weights.pt").read_bytes() == DATA
    assert server.ranges == [None]
    assert not (cache / "weights.pt.part").exists()


def test_an_interrupted_download_continues_where_it_stopped(server: HubServer, cache: Path) -> None:
    server.cut_after = 1_500_000
    assert "(received 1500000 bytes, expected 2097152)" in refusal(server.url, cache)
    assert (cache / "weights.pt.part").read_bytes() == DATA[:1_500_000]
    download(server.url)
    assert server.ranges == [None, "bytes=1500000-"]
    assert (cache / "weights.pt").read_bytes() == DATA


def leave_part(cache: Path, content: bytes) -> Path:
    """Leave a part of an earlier download in the cache."""
    cache.mkdir()
    (cache / "weights.pt.part").write_bytes(content)
    return cache / "weights.pt.part"


def test_a_server_without_ranges_sends_the_whole_file_again(server: HubServer, cache: Path) -> None:
    leave_part(cache, b"old" * 1000)
    server.knows_ranges = False
    assert download(server.url).read_bytes() == DATA
    assert server.ranges == ["bytes=3000-"]


def test_a_complete_part_is_only_verified(server: HubServer, cache: Path) -> None:
    leave_part(cache, DATA)
    assert download(server.url).read_bytes() == DATA


@pytest.mark.parametrize("left_over", [b"", b"of another file", DATA + b"too long"])
def test_a_file_with_another_checksum_is_removed(left_over: bytes, server: HubServer, cache: Path) -> None:
    part = leave_part(cache, left_over)
    wrong = SHA256 if left_over else "0" * 64
    assert "arrived damaged (SHA-256 " in refusal(server.url, cache, wrong)
    assert not part.exists()
    assert download(server.url).read_bytes() == DATA


@pytest.mark.parametrize(("status", "words"), [(404, "the server answers 404 Not Found"), (503, "answers 503")])
def test_a_refused_request_is_reported(status: int, words: str, server: HubServer, cache: Path) -> None:
    server.status = status
    assert words in refusal(server.url, cache)


def test_a_closed_port_is_reported_with_the_way_out(server: HubServer, cache: Path) -> None:
    server.server_close()
    assert "tiny: cannot be downloaded (" in refusal(server.url, cache)


def test_an_unknown_host_is_reported(cache: Path) -> None:
    assert "cannot be downloaded (" in refusal("http://no-such-host.invalid/weights.pt", cache)


def test_a_server_that_does_not_speak_http_is_reported(cache: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        message = refusal(f"http://127.0.0.1:{listener.getsockname()[1]}/weights.pt", cache)
    assert "cannot be downloaded (" in message
    assert "SSH-2.0" in message


def test_a_cache_that_cannot_be_written_is_named(server: HubServer, cache: Path) -> None:
    cache.write_text("a file, not a folder")
    with pytest.raises(ModelError, match=r"cache/weights\.pt\.part cannot be written: (Not a directory|File exists)$"):
        download(server.url)


def test_two_processes_download_a_file_once(server: HubServer, cache: Path) -> None:
    server.slow = True
    values = json.dumps({"file": "weights.pt", "sha256": SHA256, "url": server.url})
    environment = program_env({"IMAGE_SEARCH_CACHE": os.fspath(cache)})
    command = [sys.executable, "-c", LOCATE, values]
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert (cache / "weights.pt").read_bytes() == DATA
    assert server.ranges == [None], "both downloaded it"
    assert any("another process is downloading weights.pt" in text for text in printed)


# --- The Hugging Face hub --------------------------------------------------------------------------------------------

# In a separate process, because huggingface_hub reads its environment variables when it is imported.
LOCATE = (
    "import dataclasses, json, sys\n"
    "from pipelines.errors import ModelError\n"
    "from pipelines.models.registry import BUILTIN\n"
    "from pipelines.models.spec import Weights\n"
    "from pipelines.models.weights import locate\n"
    "spec = dataclasses.replace(BUILTIN, name='tiny', weights=Weights(**json.loads(sys.argv[1])))\n"
    "try: print(locate(spec))\n"
    "except ModelError as error: sys.exit(str(error))\n"
)


class Hub:
    """A user's machine: `locate` runs there, in a new process, against a server in place of the hub."""

    def __init__(self, folder: Path, server: HubServer) -> None:
        self.server = server
        self.placed = folder / "cache" / "tiny.safetensors"
        self.home = folder / "hf"
        self.note = folder / "cache" / "revisions" / REPOSITORY
        self.snapshots = self.home / "hub" / "models--someone--tiny-clip" / "snapshots"
        self.environment = {
            "IMAGE_SEARCH_CACHE": str(folder / "cache"), "HF_HOME": str(self.home), "HF_ENDPOINT": server.url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }  # fmt: skip

    def locate(self, sha256: str = SHA256, revision: str | None = None, **environment: str) -> CommandResult:
        values: dict[str, Any] = {
            "file": "tiny.safetensors", "sha256": sha256, "repository": REPOSITORY, "hub_file": HUB_FILE,
            "revision": self.server.commit if revision is None else revision,
        }  # fmt: skip
        return run_code(LOCATE, json.dumps(values), env={**self.environment, **environment})

    def refusal(self, **options: str) -> str:
        """Return the line with which the download fails; check that it names model, repository and two ways out."""
        done = self.locate(**options)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), done.err
        for part in ("tiny: ", REPOSITORY, HUB_FILE, f"put it at {self.placed}", "--model builtin"):
            assert part in done.err
        return done.err


@pytest.fixture
def hub(tmp_path: Path, server: HubServer) -> Hub:
    return Hub(tmp_path, server)


def test_a_file_of_the_hub_is_downloaded_once_into_the_shared_cache(hub: Hub) -> None:
    for _ in range(2):
        done = hub.locate()
        assert done.out.strip() == str(hub.snapshots / hub.server.commit / HUB_FILE), done.err
        assert Path(done.out.strip()).read_bytes() == DATA
    address = f"/{REPOSITORY}/resolve/{hub.server.commit}/{HUB_FILE}"
    assert {request.path for request in hub.server.requests} == {address}
    assert hub.server.ranges == [None]


@pytest.mark.long
def test_a_broken_transfer_from_the_hub_is_resumed(hub: Hub) -> None:
    hub.server.data = DATA * 8  # 16 MiB; huggingface_hub keeps what arrived in steps of 10 MiB
    hub.server.cut_after = 12 * 2**20
    done = hub.locate(sha256="")
    assert Path(done.out.strip()).read_bytes() == hub.server.data, done.err
    assert hub.server.ranges == [None, f"bytes={10 * 2**20}-"]


def test_a_file_with_another_hash_than_the_registrys_is_refused_and_removed(hub: Hub) -> None:
    done = hub.locate(sha256="0" * 64)
    assert (done.status, done.out) == (1, "")
    assert "arrived damaged (SHA-256 " in done.err
    assert [path for path in hub.home.rglob("*") if path.is_file() and path.stat().st_size == len(DATA)] == []
    assert hub.locate().status == 0


@pytest.mark.long
def test_without_a_published_hash_the_hubs_own_is_verified(hub: Hub) -> None:
    assert hub.locate(sha256="").status == 0
    hub.server.etag = "1" * 64
    hub.server.commit = "2" * 40
    done = hub.locate(sha256="")
    assert f"arrived damaged (SHA-256 {SHA256[:12]}…, not 111111111111…) and was removed" in done.err


def test_offline_mode_asks_nobody_and_names_the_way_out(hub: Hub) -> None:
    assert "offline mode is enabled" in hub.refusal(HF_HUB_OFFLINE="1")
    assert hub.server.requests == []


def test_offline_mode_takes_the_file_of_the_cache(hub: Hub) -> None:
    hub.locate()
    hub.server.requests.clear()
    assert Path(hub.locate(HF_HUB_OFFLINE="1").out.strip()).read_bytes() == DATA
    assert hub.server.requests == []


def test_without_a_connection_one_line_names_the_way_out(hub: Hub) -> None:
    hub.server.server_close()
    assert "tiny: cannot be downloaded (" in hub.refusal()


def test_a_mirror_is_used_under_its_own_path(hub: Hub) -> None:
    assert hub.locate(HF_ENDPOINT=f"{hub.server.url}/mirror").status == 0
    assert all(request.path.startswith(f"/mirror/{REPOSITORY}/resolve/") for request in hub.server.requests)


def test_the_users_token_is_sent(hub: Hub) -> None:
    hub.server.token = "hf_secret"
    assert "the server answers 401 Unauthorized (if it asks for a token, set HF_TOKEN)" in hub.refusal()
    assert hub.locate(HF_TOKEN="hf_secret").status == 0
    assert {request.token for request in hub.server.requests[-2:]} == {"Bearer hf_secret"}


def test_without_a_pinned_revision_main_is_resolved_printed_and_kept(hub: Hub) -> None:
    done = hub.locate(revision="")
    assert Path(done.out.strip()).parent.name == hub.server.commit
    assert f"tiny: main of {REPOSITORY} is {hub.server.commit}, recorded in {hub.note}\n" in done.err
    assert hub.note.read_text() == hub.server.commit
    assert hub.server.requests[0].path == f"/{REPOSITORY}/resolve/main/{HUB_FILE}"
    hub.server.commit = "2" * 40
    assert hub.locate(revision="").out == done.out
    assert hub.locate(revision="", HF_HUB_OFFLINE="1").out == done.out


def test_a_file_that_the_user_put_into_the_cache_folder_comes_first(hub: Hub) -> None:
    hub.placed.parent.mkdir()
    hub.placed.write_bytes(b"fetched by other means")
    assert hub.locate().out.strip() == str(hub.placed)
    assert hub.server.requests == []


def test_a_model_of_the_registry_without_a_network_is_refused_by_the_command(
    quick_command: Callable[..., CommandResult], photos: Any, hub: Hub
) -> None:
    hub.server.server_close()
    for name, source in (
        ("clip_vit_base_patch32_laion2b", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ("clip_vit_base_patch32", "ViT-B-32.pt"),
    ):
        environment = {**hub.environment, "HTTPS_PROXY": hub.server.url}  # a proxy that does not answer
        done = quick_command("insert", photos.csv, "--model", name, env=environment)
        assert (done.status, done.out, done.err.count("\n")) == (3, "", 1), done.err
        for part in (name, source, f"put it at {hub.placed.parent}/", "--model builtin"):
            assert part in done.err


@pytest.mark.usefixtures("torchvision")
def test_a_repository_of_the_hub_is_a_model_by_its_name(
    hub: Hub, tmp_path: Path, photos: Photos, quick_command: Callable[..., CommandResult]
) -> None:
    """Its description, tokenizer and weights are found by their names, and the next run sends no request."""
    families.chinese_clip(tmp_path / "original")
    hub.server.files = {path.name: path.read_bytes() for path in (tmp_path / "original").iterdir()}
    hub.server.requests.clear()
    name = f"hf:{REPOSITORY}"
    done = quick_command("insert", photos.csv, "--model", name, "--uri", "x.db", env=hub.environment)
    assert (done.status, f"model {name}@" in done.out) == (0, True), done.err
    assert f"{name}: main of {REPOSITORY} is {hub.server.commit}, recorded in " in done.err
    assert "vocab.txt" not in {request.path.rpartition("/")[2] for request in hub.server.requests}
    found = quick_command("search", "猫在沙发上", "--uri", "x.db", "--json", env=hub.environment)
    assert (found.status, len(json.loads(found.out)), found.err) == (0, 10, "")
    assert "vocab.txt" in {request.path.rpartition("/")[2] for request in hub.server.requests}
    hub.server.requests.clear()
    again = quick_command("search", "狗", "--uri", "x.db", env={**hub.environment, "HF_HUB_OFFLINE": "1"})
    assert (again.status, hub.server.requests) == (0, []), again.err


def test_a_tokenizer_comes_without_the_weights_if_another_machine_runs_the_model(hub: Hub) -> None:
    hub.server.files = {"vocab.txt": b"[PAD]"}
    code = LOCATE.replace("import locate", "import fetch_beside, place_of")
    code = code.replace("locate(spec)", "fetch_beside(spec, place_of(spec), 'vocab.txt')")
    values = {"file": "tiny.safetensors", "repository": REPOSITORY, "hub_file": HUB_FILE}
    done = run_code(code, json.dumps(values), env=hub.environment)
    assert Path(done.out.strip()).read_bytes() == b"[PAD]", done.err
    assert {request.path.rpartition("/")[2] for request in hub.server.requests} == {"vocab.txt"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:nothing", "hf:nothing names no repository: write hf:ORGANISATION/NAME"),
        ("hf:someone/nothing", "hf:someone/nothing: the repository has no open_clip_config.json and no config.json"),
    ],
)
def test_a_repository_that_holds_no_model_is_refused(
    name: str, message: str, hub: Hub, quick_command: Callable[..., CommandResult], photos: Photos
) -> None:
    hub.server.files = {"README.md": b"# A data set"}
    done = quick_command("insert", photos.csv, "--model", name, env=hub.environment)
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert message in done.err
