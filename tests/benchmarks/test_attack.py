"""The quick attacks run and do no harm; `make attack` runs all of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.program import ROOT, program_env


@pytest.mark.slow
def test_attacks_that_take_little_time_hold() -> None:
    names = "forged_names,traversals,events,smuggled,filters_and_texts"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.attack", "--only", names],
        cwd=ROOT, env=program_env(), capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout.count("| held")) == (0, 5), done.stdout + done.stderr
