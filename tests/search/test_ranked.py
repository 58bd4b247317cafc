"""Rankings that the pages of one query share: as deep as Milvus returns rows, and valid until rows change."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from pipelines import Searcher, Settings
from pipelines.milvus.collection import Collection
from pipelines.query import MAX_LIMIT, Part, Query
from pipelines.search.ranked import Ranked
from tests.search.test_browse import store
from tests.search.test_folding import fold

DIM = 256


def ranked(scores: np.ndarray, groups: np.ndarray, asked: list[int]) -> Ranked:
    """Return a ranking of rows 0, 1, … with these scores; rows of a group are alike."""
    order = np.argsort(-scores, kind="stable")

    def ask(count: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append(count)
        return order[:count], scores[order[:count]]

    return Ranked(ask, lambda ids: np.eye(groups.max() + 1, dtype=np.float32)[groups[ids]])


def test_all_rows_are_reached_with_three_questions() -> None:
    random = np.random.default_rng(0)
    scores, groups, asked = random.random(20_000), random.integers(0, 40, 20_000), list[int]()
    best = np.argsort(-scores)[:MAX_LIMIT]
    firsts = best[np.sort(np.unique(groups[best], return_index=True)[1])]  # the best row of each group, best first
    found = ranked(scores, groups, asked)
    assert found.folded(0.9, None, 5)[0][:5].tolist() == firsts[:5].tolist()
    assert asked == [64, 1_024]
    ids, values, folded = found.folded(0.9, None, 41)
    assert (ids.tolist(), values.tolist()) == (firsts.tolist(), scores[firsts].tolist())
    assert folded == (np.bincount(groups[best])[groups[firsts]] - 1).tolist()
    assert found.count(0.99) == int((scores >= 0.99).sum())
    assert found.count(-1.0) == MAX_LIMIT
    assert asked == [64, 1_024, MAX_LIMIT]


@pytest.mark.parametrize("least", [0.5, 0.97, 1.0])
def test_a_threshold_ends_a_ranking(least: float) -> None:
    """Rows with equal scores are all counted, and only those above the threshold are folded."""
    scores, groups, asked = np.round(np.random.default_rng(0).random(20_000), 2), np.arange(20_000) % 7, list[int]()
    found = ranked(scores, groups, asked)
    above = int((scores >= least).sum())
    assert found.count(least) == above
    ids, _, folded = found.folded(0.9, least, 100)
    assert (len(ids), len(ids) + sum(folded)) == (7, above)
    assert asked == ([64, 1_024] if above < 1_000 else [64, 1_024, MAX_LIMIT])


def test_what_a_deeper_question_finds_comes_after_what_was_shown() -> None:
    """An approximate index finds better rows when it is asked for more."""
    scores = np.linspace(1, 0, 1_500)
    missed = set(range(0, 60, 7))  # by the first search

    def ask(count: int) -> tuple[np.ndarray, np.ndarray]:
        ids = np.array([key for key in range(1_500) if count > 64 or key not in missed])[:count]
        return ids, scores[ids]

    found = Ranked(ask, lambda ids: np.eye(1_500, dtype=np.float32)[ids])
    first = found.folded(0.9, None, 24)[0].tolist()
    assert not missed & set(first[:60])
    everything = found.folded(0.9, None, 1_500)[0].tolist()
    assert everything[: len(first)] == first
    assert sorted(everything) == list(range(1_500))


@pytest.mark.long
def test_pages_of_folded_hits_are_cut_from_one_ranking(lite: Settings) -> None:
    """Pages go deeper than the first search, to the last hit; a row that is removed meanwhile is on no later page."""
    random = np.random.default_rng(0)
    vectors = np.repeat(random.standard_normal((1_300, DIM)), 2, axis=0)
    vectors[1::2] += random.standard_normal((1_300, DIM)) * random.choice(
        [0.1, 1], (1_300, 1)
    )  # half of them are alike
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    collection = Collection(lite.uri, lite.collection)
    collection.create(DIM, ())
    store(collection, [{"id": key, "path": f"{key}.jpg"} for key in range(len(vectors))], vectors)
    collection.flush()
    searcher = Searcher(lite)
    query = Query((Part("dog"),), len(vectors), fold=0.95)
    best = np.array([hit.id for hit in searcher.search(replace(query, fold=None)).hits])
    kept, folded = fold(vectors[best], 0.95)

    offsets = [0, 50, 150, 1_100, 1_800]
    pages = [searcher.search(replace(query, offset=start, limit=end - start)) for start, end in pairwise(offsets)]
    assert [hit.id for page in pages for hit in page.hits] == best[kept[:1_800]].tolist()
    whole = searcher.search(query)
    assert [hit.folded for hit in whole.hits] == folded
    assert ([page.has_more for page in pages], whole.has_more) == ([True] * 4, False)

    plain = [Query((Part("dog"),), 200, start, min_score=low) for low in (None, -0.5) for start in range(0, 2_700, 200)]
    pages = [searcher.search(each) for each in plain]
    reached = [hit.id for hit in searcher.search(replace(query, fold=None, min_score=-0.5)).hits]
    assert [hit.id for page in pages[:14] for hit in page.hits] == best.tolist()
    assert [hit.id for page in pages[14:] for hit in page.hits] == reached
    assert [page.has_more for page in pages[:14]] == [True] * 12 + [False] * 2

    gone = whole.hits[1_200].id
    collection.delete([gone])
    left = [hit.id for hit in searcher.search(query).hits]
    assert left[:1_200] == [hit.id for hit in whole.hits[:1_200]]
    assert gone not in left
