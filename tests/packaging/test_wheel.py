"""The wheel, installed beside the dependencies of this environment, works from any folder, without the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import httpx
import pytest

from pipelines import __version__
from tests.support.photos import draw_images
from tests.support.program import ROOT

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", *(path.name for path in ROOT.glob("requirements*.txt")))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, because setuptools writes beside them."""
    source = tmp_path_factory.mktemp("source")
    for name in filter(lambda name: (ROOT / name).exists(), SOURCES):
        shutil.copy(ROOT / name, source)
    for package in ("pipelines", "app"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    run_pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(source / "dist"), str(source))
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment of its own that sees the dependencies of this one."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    packages.joinpath("dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run_pip(
        "--python", str(environment / "bin" / "python"), "install", "--no-deps", "--no-index", "--ignore-installed",
        str(wheel),
    )  # fmt: skip
    return environment / "bin"


def run_pip(*arguments: str) -> None:
    """Run pip; show its output if it fails."""
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def outside() -> dict[str, str]:
    """Return an environment without this repository and without settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONPATH" and not name.startswith("IMAGE_SEARCH_")
    }


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "pipelines", "app"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    expected = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected
    assert wheel.name == f"towhee_image_search-{__version__}-py3-none-any.whl"


def test_the_wheel_asks_for_a_range_of_torch_and_names_its_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode().splitlines()
    needed = [line.removeprefix("Requires-Dist: ") for line in metadata if line.startswith("Requires-Dist: ")]
    (torch,) = (line for line in needed if line.startswith("torch") and line[5] in "<>=! ")
    assert ">=" in torch
    assert "==" not in torch
    assert {"Provides-Extra: dev", "Provides-Extra: extra", "Provides-Extra: recipe"} <= set(metadata)


@pytest.mark.slow
def test_it_indexes_and_searches_from_another_folder(installed: Path, tmp_path: Path) -> None:
    draw_images(tmp_path / "photos", 5)
    for arguments in (["insert", "photos", "--model", "builtin"], ["search", "a red square", "-k", "3"]):
        done = subprocess.run(
            [installed / "image-search", *arguments, "--json"],
            cwd=tmp_path, env=outside(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 3
    shown = subprocess.run(
        [installed / "python", "-c", "import pipelines, app; print(pipelines.__file__, app.__file__)"],
        cwd=tmp_path, env=outside(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(ROOT) not in shown.stdout


@pytest.mark.slow
def test_it_serves_the_page(installed: Path, tmp_path: Path) -> None:
    draw_images(tmp_path / "photos", 5)
    command = [str(installed / "image-search")]
    subprocess.run([*command, "insert", "photos", "--model", "builtin"], cwd=tmp_path, env=outside(), check=True)
    with subprocess.Popen(
        [*command, "serve", "--port", "0"], cwd=tmp_path, env=outside() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, text=True,
    ) as page:  # fmt: skip
        try:
            assert page.stdout is not None
            address = page.stdout.readline().split()[2]
            with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
                assert client.get("/healthz").status_code == 200
                text = client.get("/").text
                icon = client.get("/favicon.ico").content
                hits = client.get("/api/search", params={"q": "a red square", "k": 2}).json()["hits"]
        finally:
            page.send_signal(signal.SIGINT)
    assert len(hits) == 2
    english = json.loads((ROOT / "app" / "locales" / "en.json").read_text(encoding="utf-8"))
    assert english["text_placeholder"] in text
    assert icon == (ROOT / "app" / "static" / "favicon.svg").read_bytes()
    for file in [*(ROOT / "app" / "static").rglob("*.css"), *(ROOT / "app" / "static").rglob("*.js")]:
        words = re.findall(r"\b[a-zA-Z_]{8,}\b", file.read_text(encoding="utf-8"))
        assert [word for word in words if word not in text] == [], file.name
