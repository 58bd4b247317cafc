"""The exact search of Milvus Lite's indexes finds what faiss finds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch

from pipelines.milvus import lite_fast_path

lite_fast_path.apply()

from milvus_lite.index.faiss_ivf_flat import FaissIvfFlatIndex  # noqa: E402

from pipelines.milvus.lite_fast_path import exact  # noqa: E402
from pipelines.milvus.lite_fast_path.codes import Codes, FaissProducts  # noqa: E402
from pipelines.milvus.lite_fast_path.exact import Exact, Nearest  # noqa: E402

ROWS, DIM = 12_000, 48


def vectors(kind: str, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and queries: random, near duplicates, with some large numbers, or all close together but one."""
    random = np.random.default_rng(0)
    made = random.standard_normal((ROWS + queries, DIM)).astype(np.float32)
    if kind == "duplicates":
        made = made[random.integers(0, 300, len(made))] + 0.01 * made
    if kind == "large":
        made[:, :2] += [3, -2]
        made[:, 2] *= 3
    if kind == "near":
        made = 0.01 * made + 1
        made[7] = -1
    return made[:ROWS], made[ROWS:]


def search(searched: Exact, queries: np.ndarray, top_k: int, mask: np.ndarray | None) -> Nearest:
    floor = np.full(len(queries), -np.inf, np.float32)
    found = [each() for each in searched.searches(queries, top_k, mask, floor)]
    rows, distances = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    order = np.lexsort((rows, distances))[:, :top_k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1)


@pytest.mark.parametrize("kind", ["random", "duplicates", "large", "near"])
@pytest.mark.parametrize("metric", ["COSINE", "IP"])
@pytest.mark.parametrize("codes", ["", "faiss", "vnni"])
def test_finds_what_faiss_finds(kind: str, metric: str, codes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_BLOCK_ROWS", 5_000)
    # A processor without VNNI computes the same, slowly.
    monkeypatch.setattr(exact, "Codes", partial(Codes, has_vnni=codes == "vnni"))
    stored, asked = vectors(kind, most := FaissProducts.most_queries + 1)
    index = FaissIvfFlatIndex.build(stored, metric, {"nlist": 1})
    searched = Exact.of(index)
    assert searched is not None
    if codes:
        searched.make_codes()
    random = np.random.default_rng(1)
    late = np.arange(ROWS) >= 0.9 * ROWS  # some blocks have no row in it
    few = random.random(ROWS) < 0.001
    for count in (1, exact.LEAST_QUERIES - 1, exact.LEAST_QUERIES, most):
        for top_k in (1, 12, 300):
            for mask in (None, late, few, random.random(ROWS) < 0.5):
                rows, distances = search(searched, asked[:count], top_k, mask)
                right, expected = index.search(asked[:count], top_k, mask)
                np.testing.assert_allclose(distances, expected, rtol=2e-5, atol=2e-5)
                assert np.array_equal(rows < 0, right < 0)
                for mine, its, far in zip(rows, right, expected, strict=True):
                    gaps = np.diff(far[its >= 0]) > 1e-4  # where rounding cannot change the ranks
                    clear = np.append(gaps, False)[:-1] & np.append(True, gaps)[:-1] if len(gaps) else []
                    assert np.array_equal(mine[: len(clear)][clear], its[: len(clear)][clear])


def test_an_index_of_another_kind_is_left_to_milvus_lite() -> None:
    stored, _ = vectors("random", 0)
    for metric, lists in (("L2", 1), ("COSINE", 4)):
        assert Exact.of(FaissIvfFlatIndex.build(stored, metric, {"nlist": lists})) is None


@pytest.mark.parametrize("has_vnni", [False, True])
def test_codes_name_the_nearest_rows_and_know_when_they_do(has_vnni: bool) -> None:
    for kind, least in (("random", 0.95), ("large", 0.95), ("near", 0)):
        made, queries = vectors(kind, 100)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        rows, _, certain = Codes(made, has_vnni).search(queries, 10, 100, np.full(100, -np.inf, np.float32))
        right = np.argsort(-(queries.astype(np.float64) @ made.T.astype(np.float64)), axis=1)[:, :10]
        assert certain.mean() >= least, kind
        assert np.array_equal(rows[certain], right[certain])


def test_searches_by_codes_leave_the_threads_of_pytorch_alone() -> None:
    made, queries = vectors("random", 1)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    torch.set_num_threads(2)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(Codes(made, True).search, queries, 10, 100, np.full(1, -np.inf, np.float32)).result()
        assert pool.submit(torch.get_num_threads).result() == 1
    with ThreadPoolExecutor(1) as later:
        assert (torch.get_num_threads(), later.submit(torch.get_num_threads).result()) == (2, 2)
