"""The evaluator's figures do not depend on the order of inserts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines import Settings
from pipelines.evaluation.evaluator import Evaluator
from pipelines.evaluation.exact import read_table
from pipelines.evaluation.ground_truth import Caption, GroundTruth
from pipelines.evaluation.prompts import unit
from pipelines.evaluation.query_set import evaluate_queries
from pipelines.milvus.collection import Collection


@pytest.mark.long
def test_the_order_of_inserting_changes_no_figure(settings: Settings, tmp_path: Path) -> None:
    """The rows are sorted by id, so means, intervals and the drawn queries are the same."""
    random = np.random.default_rng(6)
    vectors, told = unit(random.normal(size=(60, 5))), unit(random.normal(size=(180, 5)))
    truth = GroundTruth(
        {key: f"class {key % 7}" for key in range(60)}, [Caption(n % 60, f"text {n}") for n in range(180)]
    )
    own = {"_hash": "0", "_mtime_ns": 0, "_size": 0, "_model": "m@1", "_source": ""}
    results = []
    for order in (np.arange(60), random.permutation(60)):
        collection = Collection(settings.uri, settings.collection)
        collection.create(5, ())
        for part in np.split(order, 6):
            collection.upsert({"id": int(key), "path": f"{key}", "embedding": vectors[key], **own} for key in part)
        table = read_table(collection, tmp_path, "", lambda done, total, what: None)
        collection.drop()
        by_text = {f"text {number}": vector for number, vector in enumerate(told)}
        embed = lambda texts, known=by_text: np.stack([known[text] for text in texts])  # noqa: E731
        evaluator = Evaluator(table, truth, embed, max_queries=40, seed=3)
        captions = evaluator.captions()
        asked = [(evaluator.captions_to_images(captions), evaluator.images), (evaluator.images_to_captions(), captions)]
        asked += [(queries, evaluator.images) for queries in evaluator.same_class()]
        results.append([evaluate_queries(queries, corpus, seed=3) for queries, corpus in asked])
    for first, second in zip(*results, strict=True):
        assert first.queries == 40
        assert first.figures == second.figures
        assert first.groups == second.groups
