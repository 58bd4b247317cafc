"""Whether a file is gone, or only cannot be seen now."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import fsspec
import pytest

from pipelines.fetch.presence import GONE, PRESENT, Presence, is_unlistable
from tests.support.program import run_code
from tests.support.web_server import WebServer


def look(path: object, allow_private: bool = True) -> str:
    return Presence(allow_private).look(str(path))[0]


def test_a_local_file_is_gone_if_the_nearest_folder_that_is_left_lacks_it(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert Presence().look(str(tmp_path / "a.jpg")) == (PRESENT, tmp_path.stat().st_dev)
    assert Presence().look(str(tmp_path / "b.jpg")) == (GONE, tmp_path.stat().st_dev)
    assert look(tmp_path / "folder" / "deep" / "c.jpg") == GONE
    assert look(tmp_path / "a.jpg" / "in a file.jpg") == GONE


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_a_link_that_leads_nowhere_may_come_back(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    assert look(tmp_path / "link") == f"{tmp_path}/link is a link that leads nowhere"
    assert look(tmp_path / "link" / "a.jpg") == f"{tmp_path}/link is a link that leads nowhere"


@pytest.mark.skipif(not shutil.which("setpriv"), reason="drops root's rights by setpriv")
@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_a_folder_that_cannot_be_looked_into_holds_everything(mode: int, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(mode)
    code = "import sys; from pipelines.fetch.presence import Presence; print(Presence().look(sys.argv[1])[0])"
    if os.geteuid() == 0:
        code = (
            "import os, sys; r = ['setpriv', '--bounding-set=-dac_override,-dac_read_search', sys.executable, '-c'];"
            f"os.execvp(r[0], [*r, {code!r}, *sys.argv[1:]])"
        )
    said = run_code(code, tmp_path / "locked" / "a.jpg").out.strip()
    (tmp_path / "locked").chmod(0o755)
    assert is_unlistable(said)
    assert said == f"{tmp_path}/locked cannot be listed (Permission denied)"


def test_a_file_on_the_web_is_gone_with_404_and_410_only(web_server: WebServer) -> None:
    assert look(f"{web_server.url}/files/ok") == PRESENT
    assert look(f"{web_server.url}/files/lost") == GONE
    assert look(f"{web_server.url}/status/410") == GONE
    for status in (401, 403, 500):
        assert look(f"{web_server.url}/status/{status}").startswith(f"the server answers {status}")
    assert "redirects" in look(f"{web_server.url}/redirects/9")
    assert "cannot connect" in look("http://127.0.0.1:9/a.jpg")
    assert look(f"{web_server.url}/files/ok", allow_private=False) not in (GONE, PRESENT)


def test_a_question_reads_nothing_of_a_large_file(web_server: WebServer) -> None:
    assert look(f"{web_server.url}/announces-much") == PRESENT


def test_an_object_is_gone_if_the_listing_of_its_bucket_lacks_it(bucket: str) -> None:
    store = fsspec.filesystem("memory")
    store.pipe({f"{bucket}/a.jpg": b"x", f"{bucket}/folder/b.jpg": b"x"})
    assert look(f"{bucket}/a.jpg") == look(f"{bucket}/folder/b.jpg") == PRESENT
    assert look(f"{bucket}/c.jpg") == look(f"{bucket}/folder/c.jpg") == look(f"{bucket}/none/c.jpg") == GONE
    assert look("memory://elsewhere/a.jpg") not in (GONE, PRESENT)
    assert look("s9://bucket/a.jpg") not in (GONE, PRESENT)
