"""The rows to search, the texts to search for, and the ground truth."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.fields import Field, FieldType
from pipelines.milvus.collection import Collection

WORDS = (
    "dog,cat,horse,bird,fish,boat,car,bicycle,train,bridge,house,tree,flower,mountain,river,beach,snow,night,street,"
    "market,child,woman,man,crowd,window,door,table,chair,lamp,book,red,blue,green,yellow,white,black,old,new,big,"
    "small,running,sleeping,playing,standing,flying,wooden,stone,glass,paper"
)
DIM, HITS = 256, 10
ROWS_AT_ONCE = 5_000
SHARES = (1, 10, 50)  # percent of the rows that a filter leaves
QUERIES, TOGETHER = 200, 50


def text(chance: random.Random) -> str:
    """Return a new text of five words."""
    return " ".join(chance.sample(WORDS.split(","), 5))


def embed_texts(count: int) -> np.ndarray:
    """Embed `count` texts with `builtin`: float32[count, DIM] of unit length."""
    from pipelines.models.clip import load_model

    embeddings = load_model("builtin").embed_texts([text(random.Random(number)) for number in range(count)])
    return np.asarray(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), np.float32)


def vectors(rows: int) -> Iterator[np.ndarray]:
    """Yield random unit vectors, the same ones each time: float32[up to ROWS_AT_ONCE, DIM]."""
    generator = np.random.default_rng(0)
    for first in range(0, rows, ROWS_AT_ONCE):
        part = generator.standard_normal((min(ROWS_AT_ONCE, rows - first), DIM), dtype=np.float32)
        yield part / np.linalg.norm(part, axis=1, keepdims=True)


def fill(uri: str, rows: int, folder: Path) -> float:
    """Fill a collection whose first row is an image in the folder, and return the rows per second."""
    from PIL import Image

    from pipelines.models.clip import load_model

    image = folder.resolve() / "photo.png"
    Image.effect_noise((1600, 1200), 60).convert("RGB").save(image)
    collection, model_id = Collection(uri, "images"), load_model("builtin").model_id
    collection.create(DIM, (Field("share", FieldType.INT),))
    (share,) = (field.key for field in collection.fields())
    start, first = time.perf_counter(), 0
    for part in vectors(rows):
        collection.upsert(
            {"id": number, "path": f"/photos/{number}.jpg" if number else str(image), share: number % 100,
             "_mtime_ns": 0, "_size": 0, "_key": "", "_device": -1, "_precision": "", "_schema_2": 0,
             "_hash": "", "_source": "", "_model": model_id, "embedding": vector}
            for number, vector in enumerate(part, first)
        )  # fmt: skip
        first += len(part)
    collection.flush()
    return rows / (time.perf_counter() - start)


def limits(rows: int) -> dict[str, Any]:
    """Search exactly with NumPy and faiss. Return their times, the ids of the nearest rows and the model's rate."""
    import faiss

    table, queries = np.concatenate(list(vectors(rows))), embed_texts(QUERIES)

    def by_numpy(some: np.ndarray) -> np.ndarray:
        scores = some @ table.T
        best = np.argpartition(scores, -HITS, axis=1)[:, -HITS:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    truth = np.concatenate([by_numpy(queries[first : first + TOGETHER]) for first in range(0, QUERIES, TOGETHER)])
    numpy_times = _times(by_numpy, queries)
    index = faiss.IndexFlatIP(DIM)
    index.add(table)
    faiss_times = _times(lambda some: index.search(some, HITS), queries)
    return {
        "truth": truth.tolist(),
        "NumPy alone": numpy_times,
        "faiss flat alone": faiss_times,
        "model": _model_rate(),
    }


def _model_rate(seconds: float = 3.0) -> float:
    """Return the texts per second that the model embeds in batches of TOGETHER."""
    from pipelines.models.clip import load_model

    model, texts = load_model("builtin"), [text(random.Random(number)) for number in range(TOGETHER)]
    rounds, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        model.embed_texts(texts)
        rounds += 1
    return TOGETHER * rounds / (time.perf_counter() - start)


def _times(search: Any, queries: np.ndarray, seconds: float = 3.0) -> dict[str, float]:
    """Return the milliseconds of single queries (p50, p99), and the queries per second in batches of TOGETHER."""
    search(queries[:1])
    taken: list[float] = []
    while sum(taken) < seconds:
        one = queries[len(taken) % QUERIES][None]
        start = time.perf_counter()
        search(one)
        taken.append(time.perf_counter() - start)
    rounds, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        search(queries[:TOGETHER])
        rounds += 1
    rate = TOGETHER * rounds / (time.perf_counter() - start)
    p50, p99 = 1000 * np.percentile(taken, [50, 99])
    return {"p50": float(p50), "p99": float(p99), "rate": rate}


def recall(collection: Collection, truth: list[list[int]]) -> float:
    """Return the share of the HITS nearest rows that the collection's index finds."""
    found = collection.search(embed_texts(QUERIES), HITS)
    same = [len({row[0] for row in rows} & set(right)) for rows, right in zip(found, truth, strict=True)]
    return sum(same) / (HITS * len(same))
