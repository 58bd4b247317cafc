"""The number of threads: what this process may use by default, and what `--threads` says."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.threads import usable_cores
from tests.support.photos import Photos
from tests.support.program import ROOT, run_code

ALLOWED = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
needs_two = pytest.mark.skipif(len(ALLOWED) < 2, reason="needs Linux and two cores")

# Counts the threads by name after images were decoded and embedded, and reads the number that each library uses.
REPORT = """
import json, os, sys, threading
runtime, threads, cores, *paths = sys.argv[1:]
if cores:
    os.sched_setaffinity(0, json.loads(cores))
from pipelines import Settings
from pipelines.declarations import build_image_embedding
from pipelines.engine import run
from pipelines.indexing.contents import hash_files
from pipelines.models.clip import model_of
settings = Settings(model="builtin", runtime=runtime, threads=int(threads))
model = model_of(settings)
pipeline = build_image_embedding(model, settings)  # held: without it its threads end
run(pipeline, paths)
hash_files(paths, settings.threads)
import cv2, torch
names = [thread.name.split("_")[0] for thread in threading.enumerate()]
report = {name: names.count(name) for name in ("decode", "hash")}
report["opencv"] = cv2.getNumThreads()
if runtime == "pytorch":
    report["model"] = torch.get_num_threads()
else:
    report["model"] = model.runtime.embed_images._compiled.get_property("INFERENCE_NUM_THREADS")
print(json.dumps(report))
"""


def run_report(runtime: str, threads: int, photos: Photos, cores: object = "") -> dict[str, int]:
    done = run_code(REPORT, runtime, threads, cores, *photos.paths, timeout=200)
    report: dict[str, int] = json.loads(done.out.splitlines()[-1])
    return report


@needs_two
@pytest.mark.parametrize("runtime", ["openvino", "pytorch"])
def test_everything_takes_the_number_of_threads_that_is_set(runtime: str, photos: Photos) -> None:
    assert run_report(runtime, 1, photos) == {"decode": 1, "hash": 2, "opencv": 1, "model": 1}


@needs_two
@pytest.mark.parametrize("runtime", ["openvino", pytest.param("pytorch", marks=pytest.mark.slow)])
def test_by_default_everything_takes_the_cores_of_the_affinity(runtime: str, photos: Photos) -> None:
    one = run_report(runtime, 0, photos, ALLOWED[:1])
    assert one == {"decode": 1, "hash": 2, "opencv": 1, "model": 1}
    assert run_report(runtime, 0, photos, ALLOWED[:2])["decode"] == 2


def test_the_summary_tells_the_threads_and_the_environment_sets_them(command, photos: Photos, tmp_path: Path) -> None:
    arguments = ("insert", photos.csv, "--uri", tmp_path / "x.db", "--model", "builtin")
    first = command(*arguments, env={"IMAGE_SEARCH_THREADS": "1"}).out
    assert re.search(r"the model ran by openvino .+ on cpu.*, batch \d+, threads 1\n", first), first
    assert "the model ran by" not in command(*arguments).out  # nothing was embedded


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "100000 100000"}, 1),
        ("0::/pod/one\n", {"pod/cpu.max": "150000 100000", "pod/one/cpu.max": "max 100000"}, 2),
        ("0::/of/the/host\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {}, 64),
        ("4:memory:/\n2:cpu,cpuacct:/a\n", {
            "cpu,cpuacct/a/cpu.cfs_quota_us": "250000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}, 3),
        ("2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("3:cpuset:/a\n", {"cpuset/a/cpu.max": "100000 100000"}, 64),
    ],
)  # fmt: skip
def test_a_containers_quota_limits_the_cores(
    membership: str, files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.threads.allowed_cores", lambda: 64)
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    assert usable_cores(tmp_path / "membership", tmp_path / "fs") == cores


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """Make a control group that may use half a core."""
    folder = Path("/sys/fs/cgroup", "cpu" if Path("/sys/fs/cgroup/cpu").is_dir() else "", f"test-{uuid.uuid4().hex}")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        if (folder / "cpu.max").exists():
            (folder / "cpu.max").write_text("50000 100000")
        elif (folder / "cpu.cfs_quota_us").exists():
            (folder / "cpu.cfs_quota_us").write_text("50000")
        else:
            pytest.skip("control groups do not limit processors here")
        yield folder
    finally:
        folder.rmdir()


@needs_two
def test_a_process_in_a_real_control_group_sees_its_quota(half_a_core: Path) -> None:
    code = "import sys; open(sys.argv[1], 'w').write('0'); import pipelines.threads as t; print(t.usable_cores())"
    assert run_code(code, half_a_core / "cgroup.procs").out.strip() == "1"


def test_the_product_asks_no_library_for_all_cores_of_the_machine() -> None:
    sources = [*(ROOT / "pipelines").rglob("*.py"), *(ROOT / "app").rglob("*.py")]
    assert [path.name for path in sources if "os.cpu_count" in path.read_text(encoding="utf-8")] == []
