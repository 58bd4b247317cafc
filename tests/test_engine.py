"""Calling Towhee pipelines: `pipelines.engine`."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipelines import ops, pipe
from pipelines.engine import run
from pipelines.errors import StoreUnavailable
from tests.support.program import run_code


def test_after_importing_pipelines_towhees_own_ops_and_pipe_are_the_same_objects() -> None:
    """No warning is printed, although Towhee's own imports print deprecation warnings."""
    code = (
        "from pipelines import ops as our_ops, pipe as our_pipe\n"
        "from towhee import ops, pipe\n"
        "import numpy as np\n"
        "assert ops is our_ops and pipe is our_pipe\n"
        "p = pipe.input('v').map('v', 'v', ops.towhee.np_normalize()).output('v')\n"
        "assert abs(np.linalg.norm(p(np.ones(4)).get()[0]) - 1) < 1e-6\n"
    )
    done = run_code(code)
    assert done.status == 0, done.err
    assert "Warning" not in done.err


def test_importing_pipelines_leaves_the_import_system_alone() -> None:
    code = "import sys; before = list(sys.meta_path); import pipelines; print(sys.meta_path == before)"
    assert run_code(code).out.strip() == "True"


def test_importing_pipelines_imports_nothing_heavy() -> None:
    code = "import sys, pipelines; print([m for m in ('towhee', 'torch', 'pymilvus', 'pandas') if m in sys.modules])"
    done = run_code(code)
    assert done.out.strip() == "[]"


def test_an_operators_exception_is_raised_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.operators.embedding import Normalize

    error = StoreUnavailable("no Milvus answers\nhere")

    def fail(self: Normalize, embeddings: np.ndarray) -> np.ndarray:
        raise error

    monkeypatch.setattr(Normalize, "__call__", fail)
    pipeline = pipe.input("x").map("x", "y", ops.towhee.np_normalize()).map("y", "z", lambda y: y).output("z")
    for profile in (None, []):
        with pytest.raises(StoreUnavailable) as caught:
            run(pipeline, np.ones(4), profile=profile)
        assert caught.value is error


def test_concurrent_calls_of_one_pipeline_get_their_own_errors() -> None:
    pipeline = pipe.input("x").map("x", "y", ops.towhee.np_normalize()).output("y")

    def call(number: int) -> str:
        value = [float(number)] if number % 5 == 0 else f"text {number}"
        try:
            return str(run(pipeline, value)[0])
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(1, 201)))
    assert answers == [
        "[1.]" if number % 5 == 0 else f"could not convert string to float: 'text {number}'"
        for number in range(1, 201)
    ]  # fmt: skip


def test_an_error_of_a_function_is_raised_as_itself() -> None:
    pipeline = pipe.input("x").map("x", "y", lambda x: 1 / x).output("y")
    with pytest.raises(ZeroDivisionError):
        run(pipeline, 0)


def test_steps_read_and_write_the_columns_that_towhee_says() -> None:
    pipeline = (
        pipe.input("x", "y")
        .map(("y", "x"), ("sum", "x"), lambda y, x: (y + x, y - x))
        .map("sum", "sum", lambda total: 10 * total)
        .map("x", "one", lambda x: [x, x])
        .output("one", "y", "sum")
    )
    assert run(pipeline, 1, 5) == list(pipeline(1, 5).get()) == [[4, 4], 5, 60]


def test_a_profile_names_the_steps_and_their_seconds() -> None:
    pipeline = pipe.input("x").map("x", "y", ops.towhee.np_normalize()).map("y", "z", lambda y: y).output("z")
    profile: list[tuple[str, float]] = []
    run(pipeline, np.ones(4), profile=profile)
    assert [name for name, _ in profile] == ["towhee/np-normalize", "lambda"]
    assert all(seconds > 0 for _, seconds in profile)


def test_profiler_works_on_a_pipeline_and_times_the_operator() -> None:
    slow = pipe.input("x").map("x", "y", lambda x: time.sleep(0.05)).output("y")
    reports = slow.debug(1, profiler=True).profiler.pipes_profiler[0].node_report.values()
    assert max(report["call_op"] for report in reports) >= 0.05
