"""Time each step of starting `search` and `serve`, one after the other in a new process.

Nothing is imported beforehand, so that each step pays for its own imports. The program compiles while it imports.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import time
from collections.abc import Callable
from typing import Any


class _Steps(dict[str, float]):
    """Seconds by step."""

    def timed(self, name: str, function: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        value = function()
        self[name] = time.perf_counter() - start
        return value

    def imports(self, name: str, *modules: str) -> None:
        self.timed(name, lambda: [importlib.import_module(module) for module in modules])


def main() -> None:
    """Measure one command, and print its steps as the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--subject", choices=("search", "serve"))
    parser.add_argument("--arguments")
    options = parser.parse_args()
    given = json.loads(options.arguments)
    steps = _Steps({"start Python": time.time() - given.pop("started")})
    (_search if options.subject == "search" else _serve)(steps, **given)
    print(json.dumps(steps))


def _search(steps: _Steps, uri: str, weights: str, device: str) -> None:
    steps.imports("import the command line", "pipelines.cli", "pipelines.cli.search")
    steps.imports("import NumPy", "numpy")
    steps.imports("import the searcher", "pipelines.search.searcher")
    from pipelines.engine import load_towhee
    from pipelines.milvus.client_import import import_client, import_lite, without_pandas
    from pipelines.models.clip import model_of
    from pipelines.models.tokenizer import load_tokenizer
    from pipelines.search.searcher import Searcher
    from pipelines.settings import Settings

    steps.timed("import pymilvus", import_client)
    with without_pandas():
        steps.timed("import Milvus Lite", import_lite)
        settings = Settings(uri=uri, weights=weights, device=device)
        searcher = steps.timed("open the collection", lambda: Searcher(settings))
        runtime = "openvino_tower" if device in ("auto", "cpu") else "pytorch_runtime"
        steps.imports("import the runtime", f"pipelines.models.{runtime}")
        model = steps.timed("weights' fingerprint, runtime", lambda: model_of(searcher.settings))
        steps.timed("import Towhee", load_towhee)
        steps.timed("read the vocabulary", load_tokenizer)
        steps.timed("compile and check the text tower", model.prepare_texts)
        steps.timed("first search", lambda: searcher.by_text("a cat"))


def _serve(steps: _Steps, uri: str, weights: str, device: str) -> None:
    steps.imports("import the command line", "pipelines.cli", "pipelines.cli.serve")
    steps.imports("import FastAPI", "fastapi", "uvicorn")
    steps.imports("import the server", "app.server")
    from app.application import build_app
    from app.library import Library
    from pipelines.settings import Settings

    library = Library(Settings(uri=uri, weights=weights, device=device))
    steps.timed("open the collection", library.searcher)
    app = steps.timed("build the API", lambda: build_app(library))
    steps.timed("first search", lambda: library.searcher().by_text("a cat"))
    steps.timed("import Gradio, build the page", lambda: asyncio.run(app.state.page.ready()))


if __name__ == "__main__":
    main()
