"""Towhee: loading it with this project's operators, and calling a pipeline."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from functools import cache
from types import ModuleType
from typing import Any

from . import errors
from .towhee_compat import import_towhee

# Towhee reports an operator's exception as text, traceback and all. Our messages are one line by design.
_OWN_ERROR = re.compile(r"^pipelines\.errors\.(\w+): (.*)$", re.MULTILINE)


@cache
def load_towhee() -> ModuleType:
    """Import Towhee and register this project's operators under the names of Towhee's hub.

    Towhee looks into its registry first, so no hub is asked at run time. `from pipelines import ops, pipe` calls this.
    """
    towhee = import_towhee()
    from .operators.clip_embedding import ClipEmbedding
    from .operators.image_decode import ImageDecode
    from .operators.milvus_client import MilvusInsert, MilvusSearch, MilvusUpsert
    from .operators.normalize import Normalize

    operators = {
        "image-decode/cv2": ImageDecode,
        "image-text-embedding/clip": ClipEmbedding,
        "towhee/np-normalize": Normalize,
        "ann-insert/milvus-client": MilvusInsert,
        "ann-insert/milvus-rows": MilvusUpsert,
        "ann-search/milvus-client": MilvusSearch,
    }
    for name, operator in operators.items():
        towhee.register(name=name)(operator)
    return towhee


class Profile:
    """Seconds spent in each step, over all calls of a run. Steps overlap: the sum exceeds the wall-clock time."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def add(self, step: str, seconds: float) -> None:
        """Adds to a step's account."""
        with self._lock:
            self.seconds[step] += seconds


def run(pipeline: Any, *inputs: Any, profile: Profile | None = None) -> list[Any]:
    """One call of a pipeline with one row of output.

    Returns:
        The values of the pipeline's output columns.

    Raises:
        SearchError: what an operator raised, of its own class again.
        RuntimeError: anything else, as Towhee reports it.
    """
    try:
        if profile is None:
            return pipeline(*inputs).get()
        # Nothing is traced: a tracing Towhee deep-copies every value between two steps.
        view = pipeline.debug(*inputs, profiler=True, exclude=".*")
    except RuntimeError as error:
        own = _OWN_ERROR.findall(str(error))
        if own:
            name, message = own[-1]
            raise getattr(errors, name)(message) from error
        raise
    for report in view.profiler.pipes_profiler[0].node_report.values():
        step = report["node"].removesuffix("(map)")
        if not step.startswith("_"):
            profile.add(re.sub(r"-\d+$", "", step), report["call_op"])
    return view.result.get()
