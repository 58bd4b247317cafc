"""The container image, built by `make image` without a registry and run: insert, search, the page, SIGTERM.

If the build cannot reach this machine's package index by itself, `IMAGE_BUILD_OPTIONS` holds further options of
`buildah build`, such as `--build-arg TORCH_INDEX=…` or `--volume /etc/pip.conf:/etc/pip.conf:ro`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.photos import draw_images
from tests.support.program import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

# Debian's root file system gets the name of the Dockerfile's base image, because both hold Python 3.11.
BASE = "docker.io/library/python:3.11-slim"
PACKAGES = "ca-certificates,python3,python3-venv,python-is-python3"
MOST_BYTES = 2.5e9
USER = 10001
# Fetches a part of what the Dockerfile fetches: one package, PyTorch without CUDA, and Debian's package lists.
PROBE = """\
FROM {base}
ARG TORCH_INDEX={torch_index}
RUN python -m venv /probe && /probe/bin/pip install --dry-run --no-deps --retries 0 \
    --extra-index-url "$TORCH_INDEX" {package} {torch}+cpu
RUN apt-get --error-on=any update
"""


class Builder:
    """Buildah with its own store of images."""

    def __init__(self, folder: Path) -> None:
        configuration = folder / "storage.conf"
        store = {"driver": "overlay", "graphroot": str(folder / "store"), "runroot": str(folder / "run")}
        lines = [f'{name} = "{value}"' for name, value in store.items()]
        configuration.write_text("\n".join(["[storage]", *lines, ""]))
        self.options = ["--pull-never", *shlex.split(os.environ.get("IMAGE_BUILD_OPTIONS", ""))]
        self._environment = {
            **os.environ, "CONTAINERS_STORAGE_CONF": str(configuration), "BUILDAH_ISOLATION": "chroot",
            "IMAGE_BUILD_OPTIONS": shlex.join(self.options),
        }  # fmt: skip

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def __call__(self, *command: str) -> str:
        """Return what a command prints; show it if the command fails."""
        done = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout.strip()


class Container:
    """A container of the image on this machine's network, with folders mounted for images and as its volume."""

    def __init__(self, builder: Builder, folder: Path) -> None:
        self._builder, self.folder = builder, folder
        self.name = builder("buildah", "from", "--pull-never", "image-search")
        mounts = ["--volume", f"{folder}/data:/data", "--volume", f"{folder}/photos:/photos:ro"]
        self._command = ["buildah", "run", *mounts, self.name, "--"]

    def run(self, *command: str) -> str:
        return self._builder(*self._command, *command)

    def start(self, *command: str) -> subprocess.Popen[str]:
        return self._builder.start(*self._command, *command)


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """Return a builder that has the base image and reaches the package indexes; remove its layers at the end."""
    for tool in ("buildah", "mmdebstrap", "make"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here: on Debian, apt install buildah mmdebstrap make")
    if os.geteuid():
        pytest.skip("only root builds an image without user namespaces")
    folder = tmp_path_factory.mktemp("image")
    builder = Builder(folder)
    try:
        make_base(builder)
        probe(builder, folder / "Dockerfile")
        yield builder
    finally:
        for command in (["rm", "--all"], ["rmi", "--all", "--force"]):
            builder.start("buildah", *command).communicate()


def make_base(builder: Builder) -> None:
    scratch = builder("buildah", "from", "scratch")
    root = builder("buildah", "mount", scratch)
    options = ["--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io", f"--include={PACKAGES}"]
    skip_unless_done(
        builder.start("mmdebstrap", *options, "bookworm", root), "mmdebstrap makes no root file system here"
    )
    builder("buildah", "commit", "--rm", "--quiet", "--format", "docker", scratch, BASE)


def probe(builder: Builder, file: Path) -> None:
    (torch_index,) = re.findall(r"^ARG TORCH_INDEX=(.+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    constraints = (ROOT / "constraints.txt").read_text()
    package, torch = (re.findall(rf"^{name}==\S+", constraints, re.MULTILINE)[0] for name in ("towhee", "torch"))
    file.write_text(PROBE.format(base=BASE, torch_index=torch_index, package=package, torch=torch))
    probing = builder.start("buildah", "build", *builder.options, "--file", str(file), ".")
    skip_unless_done(probing, "a build reaches no index of packages here, see IMAGE_BUILD_OPTIONS in CONTRIBUTING.md")


def skip_unless_done(process: subprocess.Popen[str], reason: str) -> None:
    printed, _ = process.communicate()
    if process.returncode:
        problem = re.search(r"^E(?:RROR)?: .*", printed, re.MULTILINE)  # of pip or apt
        pytest.skip(f"{reason}: {problem[0] if problem else printed.strip()[-300:]}")


@pytest.fixture(scope="module")
def config(builder: Builder) -> dict[str, Any]:
    """Build the image as a user does, and return its configuration."""
    builder("make", "image", "IMAGE_TOOL=buildah")
    image: dict[str, Any] = json.loads(builder("buildah", "inspect", "--type", "image", "image-search"))
    config: dict[str, Any] = image["Docker"]["config"]
    return config


@pytest.fixture(scope="module")
def container(builder: Builder, config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Container:
    """Return a container that has indexed twelve images."""
    folder = tmp_path_factory.mktemp("mounted")
    draw_images(folder / "photos", 12)
    (folder / "data").mkdir()
    os.chown(folder / "data", USER, USER)
    container = Container(builder, folder)
    summary = json.loads(container.run("image-search", "insert", "/photos", "--model", "builtin", "--json"))
    assert (summary["rows"], summary["inserted"]) == (12, 12)
    return container


def test_the_image_is_small_and_runs_as_a_numeric_user_without_cuda(
    builder: Builder, config: dict[str, Any], container: Container
) -> None:
    (image,) = json.loads(builder("buildah", "images", "--json", "image-search"))
    number, unit = image["size"].split()
    assert float(number) * {"MB": 1e6, "GB": 1e9}[unit] <= MOST_BYTES, image["size"]
    assert config["User"] == f"{USER}:{USER}"
    assert container.run("id", "-u") == str(USER)
    assert container.run("python", "-c", "import torch; print(torch.__version__)").endswith("+cpu")


def test_the_volume_keeps_the_collection_for_the_next_container(
    builder: Builder, config: dict[str, Any], container: Container
) -> None:
    assert config["Volumes"].keys() == {"/data"}
    hits = json.loads(Container(builder, container.folder).run("image-search", "search", "red", "-k", "3", "--json"))
    assert len(hits) == 3
    assert hits[0]["path"].startswith("/photos/")


def test_the_page_answers_and_sigterm_ends_it(config: dict[str, Any], container: Container) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    serve = shlex.join([*config["Entrypoint"], *config["Cmd"], "--port", port])
    # The container is on this machine's network, where the image's own port may be taken.
    health_check = [part.replace("7860", port) for part in config["Healthcheck"]["Test"][1:]]
    page = container.start("sh", "-c", f"{serve} & echo $! >/data/pid; wait $!; echo status $?")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            assert is_healthy(client, page)
            assert "<gradio-app" in client.get("/").text
            answer = client.get("/api/search", params={"q": "a red square", "k": 2}).json()
        assert len(answer["hits"]) == 2
        container.run(*health_check)
        container.run("sh", "-c", "kill -TERM $(cat /data/pid)")
        printed, _ = page.communicate(timeout=30)
    finally:
        container.run("sh", "-c", "kill -KILL $(cat /data/pid) || true")  # killing buildah would leave it running
        page.kill()
    assert "status 143\n" in printed, printed  # 128 plus the number of SIGTERM
    assert "Traceback" not in printed
    unhealthy = container.start(*health_check)
    assert "Connection refused" in unhealthy.communicate()[0]
    assert unhealthy.returncode == 1


def test_a_read_only_root_file_system_is_enough(builder: Builder, config: dict[str, Any], container: Container) -> None:
    """As in `compose.yaml` and the manifests, with a /tmp in memory."""
    root = builder("buildah", "mount", container.name)
    program = ["env", "--ignore-environment", *config["Env"], *config["Entrypoint"], "search", "red", "--json"]
    script = (
        'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && mount --rbind /dev "$1/dev" && '
        'mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/tmp" && mount --bind "$2/data" "$1/data" && '
        '! touch "$1/opt/new" 2>/dev/null && '
        f'exec chroot --userspec={config["User"]} "$1" {shlex.join(program)}'
    )
    hits = json.loads(builder("unshare", "--mount", "sh", "-c", script, "sh", root, str(container.folder)))
    assert len(hits) == 10


def is_healthy(client: httpx.Client, page: subprocess.Popen[str]) -> bool:
    end = time.monotonic() + 300
    while page.poll() is None and time.monotonic() < end:
        try:
            return client.get("/healthz").status_code == 200
        except httpx.TransportError:
            time.sleep(0.2)
    return False
