"""Retrieval metrics equal those of torchmetrics, and their intervals those of SciPy."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.evaluation import exact, metrics

ROUNDS = 60


@pytest.fixture(scope="module")
def judge(torchvision: None) -> object:
    return pytest.importorskip("torchmetrics.functional.retrieval")


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
def test_formulas_are_those_of_torchmetrics(ties: bool, judge, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    random = np.random.default_rng(ties)
    for _ in range(ROUNDS):
        rows = int(random.integers(12, 80))
        vectors = random.normal(size=(rows, 6)).astype(np.float32)
        if ties:
            vectors[random.integers(0, rows, rows // 2)] = vectors[0]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        query = random.normal(size=(1, 6)).astype(np.float32)
        relevant = np.sort(random.choice(rows, int(random.integers(1, rows - 1)), replace=False))
        monkeypatch.setattr(exact, "_SCORES_AT_ONCE", int(random.integers(3, 100)))  # slices of every size
        ranks = exact.ranks_of(query, vectors, [relevant])[0]

        is_relevant = np.zeros(rows, bool)
        is_relevant[relevant] = True
        # Among equal scores, rows that are not relevant come first, so that no query is credited with a lucky order.
        order = np.lexsort((is_relevant, -exact.scores_of(query, vectors)[0]))
        places = np.empty(rows, np.float32)
        places[order] = rows - np.arange(rows)
        given = torch.tensor(places), torch.tensor(is_relevant)
        expected = {f"hit {k}": judge.retrieval_hit_rate(*given, top_k=k) for k in (1, 5, 10)}
        expected |= {f"precision {k}": judge.retrieval_precision(*given, top_k=k) for k in (1, 5, 10)}
        expected |= {"ap": judge.retrieval_average_precision(*given), "rr": judge.retrieval_reciprocal_rank(*given)}
        expected |= {"r-precision": judge.retrieval_r_precision(*given)}
        ours = {f"hit {k}": metrics.recall_at(k, ranks) for k in (1, 5, 10)}
        ours |= {f"precision {k}": metrics.precision_at(k, ranks) for k in (1, 5, 10)}
        ours |= {"ap": metrics.average_precision_at(rows, ranks), "rr": metrics.reciprocal_rank(ranks)}
        ours |= {"r-precision": metrics.r_precision(ranks)}
        assert ours == pytest.approx({name: float(value) for name, value in expected.items()}, abs=1e-6)


def test_the_interval_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(1).random(200) ** 2
    ours = metrics.estimate(values)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=2).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)
    assert ours.value == pytest.approx(values.mean())


def test_average_precision_at_ten_is_the_formula_written_out() -> None:
    """Σ precision@r / min(10, R); torchmetrics divides by the relevant answers found, not by all that there are."""
    random = np.random.default_rng(4)
    for _ in range(200):
        ranks = np.sort(random.choice(60, int(random.integers(1, 30)), replace=False) + 1)
        relevant = [rank in ranks for rank in range(1, 11)]
        expected = sum(sum(relevant[:rank]) / rank for rank in range(1, 11) if relevant[rank - 1]) / min(10, len(ranks))
        assert metrics.average_precision_at(10, ranks) == pytest.approx(expected)
