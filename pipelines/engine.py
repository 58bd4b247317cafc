"""Load Towhee with this project's operators, and call pipelines."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from .forks import refuse_fork
from .towhee_compat import import_towhee

# Steps and the seconds that they took. Several threads append to it, so the sum can exceed the wall-clock time.
Profile = list[tuple[str, float]]


@cache
def load_towhee() -> Any:
    """Import Towhee and register this project's operators under the names of Towhee's hub.

    Towhee looks into its registry first. Its hub is never used, because it would install packages at run time.
    `from pipelines import ops, pipe` calls this.
    """
    towhee = import_towhee()
    from .operators.embedding import ChineseClipEmbedding, ClipEmbedding, Normalize
    from .operators.image_decode import ImageDecode
    from .operators.milvus_client import MilvusInsert, MilvusSearch, MilvusUpsert

    operators = {
        "image-decode/cv2": ImageDecode,
        "image-decode/cv2-rgb": ImageDecode,
        "image-text-embedding/clip": ClipEmbedding,
        "image-text-embedding/cn-clip": ChineseClipEmbedding,
        "towhee/np-normalize": Normalize,
        "ann-insert/milvus-client": MilvusInsert,
        "ann-insert/milvus-rows": MilvusUpsert,
        "ann-search/milvus-client": MilvusSearch,
    }
    for name, operator in operators.items():
        towhee.register(name=name)(operator)
    return towhee


class _Step(NamedTuple):
    """One step of a pipeline: its name, the columns that it reads and writes, and its operator."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operator: Callable[..., Any]


def run(pipeline: Any, *inputs: Any, profile: Profile | None = None) -> list[Any]:
    """Call a pipeline of `map` steps. Several threads may do so at the same time.

    This thread calls the steps in turn. A call carries one row, so Towhee's own queues and threads, one set per step,
    would only hand it on, which takes a third of the CPU time of a search.

    Returns:
        The values of the pipeline's output columns.

    Raises:
        Exception: an operator raised it.
        ForkedProcess: a parent of this process had opened a Milvus, a model or a pipeline.
    """
    refuse_fork()
    first, *steps, last = pipeline.__dict__.get("_steps") or _load_steps(pipeline)
    values = dict(zip(first.outputs, inputs, strict=True))
    for step in steps:
        start = time.perf_counter()
        found = step.operator(*(values[name] for name in step.inputs))
        if profile is not None:
            profile.append((step.name, time.perf_counter() - start))
        values |= zip(step.outputs, found if len(step.outputs) > 1 else [found], strict=True)
    return [values[name] for name in last.inputs]


def _load_steps(pipeline: Any) -> list[_Step]:
    """Create the operators of a pipeline, once, and return its steps from the input to the output, both included."""
    steps = []
    for node in pipeline.dag_repr.nodes.values():
        assert node.iter_info.type == "map", f"{node.name} is no map"
        operator, about = node.op_info.operator, node.op_info
        if isinstance(operator, str):
            operator = pipeline._operator_pool.acquire_op(
                node.uid, operator, about.init_args, about.init_kws, about.tag, about.latest
            )
        steps.append(_Step(re.sub(r"-\d+$", "", node.name), node.inputs, node.outputs, operator))
    pipeline._steps = steps
    return steps
