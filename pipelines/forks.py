"""Refuse forked processes: they lack the threads of Milvus's client, the models and Towhee, and would wait for ever."""

from __future__ import annotations

import os

from .errors import ForkedProcess

_owner = 0  # the process whose threads do the work, 0 before there are any


def refuse_fork() -> None:
    """Note that this process starts threads, or refuse to go on in a fork of one that did.

    Raises:
        ForkedProcess: the process was forked from one that had opened a Milvus, a model or a pipeline.
    """
    global _owner
    if _owner == 0:
        _owner = os.getpid()
    elif _owner != os.getpid():
        raise ForkedProcess(
            "this process was forked from one that had opened a collection or a model, whose threads it lacks: "
            "start it by multiprocessing.get_context('spawn'), or open them after the fork only"
        )
