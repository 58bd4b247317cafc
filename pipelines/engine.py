"""Towhee: loading it with this project's operators, and calling a pipeline."""

from __future__ import annotations

import re
from contextvars import ContextVar
from functools import cache
from typing import Any

from .forks import refuse_fork
from .towhee_compat import import_towhee

# What operators raised in the call of `run` that a thread works for: Towhee itself reports only an exception's text.
# `import_towhee` lets the threads of a pipeline inherit the variable.
_raised: ContextVar[list[Exception]] = ContextVar("raised")

# Steps and the seconds that they took. Steps overlap, so their sum exceeds the wall-clock time. Threads append to it.
Profile = list[tuple[str, float]]


@cache
def load_towhee() -> Any:
    """Import Towhee and register this project's operators under the names of Towhee's hub.

    Towhee looks into its registry first, so no hub is asked at run time. `from pipelines import ops, pipe` calls this.
    """
    towhee = import_towhee()
    from .operators.embedding import ClipEmbedding, Normalize
    from .operators.image_decode import ImageDecode
    from .operators.milvus_client import MilvusInsert, MilvusSearch, MilvusUpsert

    operators = {
        "image-decode/cv2": ImageDecode,
        "image-text-embedding/clip": ClipEmbedding,
        "towhee/np-normalize": Normalize,
        "ann-insert/milvus-client": MilvusInsert,
        "ann-insert/milvus-rows": MilvusUpsert,
        "ann-search/milvus-client": MilvusSearch,
    }
    for name, operator in operators.items():
        towhee.register(name=name)(_keep_errors(operator))
    return towhee


def _keep_errors(operator: type[Any]) -> type[Any]:
    """Return a subclass of an operator that keeps what it raises, for `run`."""

    def call(self: Any, *inputs: Any) -> Any:
        try:
            return operator.__call__(self, *inputs)
        except Exception as error:
            _raised.get([]).append(error)
            raise

    return type(operator.__name__, (operator,), {"__call__": call, "__doc__": operator.__doc__})


def run(pipeline: Any, *inputs: Any, profile: Profile | None = None) -> list[Any]:
    """Call a pipeline that gives one row of output. May be called by several threads at the same time.

    Returns:
        The values of the pipeline's output columns.

    Raises:
        Exception: the object that an operator of this project raised.
        ForkedProcess: a parent of this process had opened a Milvus, a model or a pipeline.
        RuntimeError: an error of another operator, as Towhee reports it.
    """
    refuse_fork()
    raised: list[Exception] = []
    token = _raised.set(raised)
    try:
        return _call(pipeline, inputs, profile)
    except RuntimeError:
        if not raised:
            raise
    finally:
        _raised.reset(token)
    raise raised.pop(0)


def _call(pipeline: Any, inputs: tuple[Any, ...], profile: Profile | None) -> list[Any]:
    if profile is None:
        return list(pipeline(*inputs).get())
    # Towhee deep-copies every value between two steps that it traces, so none is traced.
    view = pipeline.debug(*inputs, profiler=True, exclude=".*")
    for report in view.profiler.pipes_profiler[0].node_report.values():
        step = report["node"].removesuffix("(map)")
        if not step.startswith("_"):
            profile.append((re.sub(r"-\d+$", "", step), report["call_op"]))
    return list(view.result.get())
