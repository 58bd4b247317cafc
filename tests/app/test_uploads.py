"""Uploads on the disk: what stays, what goes, and what a killed page leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from gradio.routes import file_upload_statuses

from app import uploads
from app.uploads import Uploads
from tests.support.page import ROOT, environment

HEADERS = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s.png"\r\n\r\n%s\r\n'
FIELD = b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nx\r\n'


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Uploads:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return Uploads()


def upload(kept: Uploads, client: str, name: str, size: int) -> Path:
    path = Path(kept.folder, name, "a.png")
    path.parent.mkdir()
    path.write_bytes(bytes(size))
    kept.keep(client, [str(path)])
    return path


def test_beyond_a_clients_limit_its_oldest_goes(kept: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_OF_CLIENT", 10)
    other = upload(kept, "b", "other", 8)
    first, second, third = (upload(kept, "a", name, 4) for name in ("1", "2", "3"))
    assert [path.exists() for path in (other, first, second, third)] == [True, False, True, True]
    assert not first.parent.exists()
    assert kept.size == 16


@pytest.mark.parametrize(("name", "limit"), [("MOST_OF_ALL", 10), ("MOST_FILES", 2)])
def test_beyond_the_limit_of_all_the_oldest_goes(
    kept: Uploads, monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    monkeypatch.setattr(uploads, name, limit)
    first, second, third = (upload(kept, client, client, 4) for client in "abc")
    assert [path.exists() for path in (first, second, third)] == [False, True, True]


def test_what_a_refused_upload_leaves_behind_goes(kept: Uploads) -> None:
    Path(kept.folder, "tmpabc").write_bytes(b"x")
    path = upload(kept, "a", "1", 4)
    assert list(Path(kept.folder).rglob("*.png")) == [path]
    assert not Path(kept.folder, "tmpabc").exists()


@pytest.mark.parametrize(
    "body",
    [(PART % (b"a", b"x"))[:-2], PART % (b"a", b"x") + b"--c",
     b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nno file\r\n--b--\r\n', b"nonsense", b""],
)  # fmt: skip
def test_a_damaged_upload_is_refused_and_leaves_nothing(open_client: TestClient, body: bytes) -> None:
    sent = open_client.post("/gradio_api/upload", content=PART % (b"first", b"x") + b"--b--\r\n", headers=HEADERS)
    folder = Path(sent.json()[0]).parent.parent
    before = set(folder.rglob("*.png"))
    answer = open_client.post("/gradio_api/upload", content=body, headers=HEADERS)
    assert answer.status_code == 400 or answer.json() == []
    assert {file for file in folder.rglob("*") if file.is_file() and file.name != ".running"} == before


@pytest.mark.parametrize(("count", "other", "status"), [(100, b"", 200), (101, b"", 400), (1, FIELD, 400)])
def test_an_upload_takes_few_descriptors_and_no_memory(
    open_client: TestClient, count: int, other: bytes, status: int
) -> None:
    body = b"".join(PART % (b"%d" % number, b"x") for number in range(count)) + other + b"--b--\r\n"
    assert open_client.post("/gradio_api/upload", content=body, headers=HEADERS).status_code == status


def test_the_next_start_removes_what_a_killed_page_has_left(tmp_path: Path) -> None:
    code = "from app.uploads import Uploads; u = Uploads(); print(u.folder, flush=True); "
    command = [sys.executable, "-c", f"{code} import os; os.kill(os.getpid(), 9)"]
    env = environment(TMPDIR=str(tmp_path))
    left = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True).stdout.strip()
    assert Path(left).is_dir()
    other = tmp_path / "image-search-of-somebody"
    other.mkdir()
    running = subprocess.Popen(
        [sys.executable, "-c", f"{code} input()"], cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with running:
        assert running.stdout is not None
        alive = running.stdout.readline().strip()
        assert not Path(left).exists()
        subprocess.run(command, cwd=ROOT, env=env, capture_output=True)
        assert Path(alive).is_dir()
        assert other.is_dir()
        running.kill()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives folders away")
def test_a_folder_of_another_user_stays(kept: Uploads, tmp_path: Path) -> None:
    """The lock file in it could be a link to any file."""
    other = tmp_path / "image-search-of-somebody"
    other.mkdir()
    (other / ".running").touch()
    os.chown(other, 12345, 12345)
    uploads._remove_leftovers()
    assert (other / ".running").exists()


def test_the_progress_of_an_upload_is_not_remembered(open_client: TestClient) -> None:
    body = PART % (b"a", b"x") + b"--b--\r\n"
    assert open_client.post("/gradio_api/upload?upload_id=abc", content=body, headers=HEADERS).status_code == 200
    assert not file_upload_statuses._statuses
