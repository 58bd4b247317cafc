"""Vector indexes: requests are checked before any work, then built and shown; scores stay cosines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import InputError, StoreError
from pipelines.milvus.collection import Collection
from pipelines.milvus.index import Index, check_index, choose_index, resolve, search_params
from pipelines.milvus.lite import is_lite
from tests.support.insert import all_rows, collection_of, did
from tests.support.photos import Photos
from tests.support.program import CommandResult


@pytest.mark.parametrize(
    ("uri", "arguments", "message"),
    [
        ("a.db", ("scann", "", ()), "Milvus Lite has no index 'scann'; it has: auto, flat, ivf_flat"),
        ("a.db", ("diskann", "", ()), "Milvus Lite has no index 'diskann'"),
        ("http://a:1", ("hnsw_sq", "", ()), "a Milvus server has no index 'hnsw_sq'; it has: auto, hnsw"),
        ("https://x.aws-us-west-2.vectordb.zillizcloud.com:19530", ("hnsw", "", ()), "it has: auto, autoindex"),
        ("a.db", ("", "hamming", ()), "there is no metric 'hamming'; there are: cosine, ip, l2"),
        ("a.db", ("hnsw", "", ("nlist=3",)), r"hnsw has no parameter 'nlist' \(it takes: M, efConstruction\)"),
        ("a.db", ("flat", "", ("M=3",)), r"it takes: none"),
        ("a.db", ("hnsw", "", ("M=3",)), "M is a number from 4 to 64, not '3'"),
        ("a.db", ("hnsw", "", ("M",)), "not ''"),
        ("a.db", ("", "", ("M=8",)), "index parameter M=8 needs an index type"),
    ],
)
def test_an_index_that_this_milvus_lacks_is_refused(
    uri: str, arguments: tuple[str, str, tuple[str]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        choose_index(uri, *arguments)


@pytest.mark.parametrize(
    ("params", "dim", "message"),
    [
        ({"m": 7}, 256, r"m must divide the model's 256 dimensions, and 7 does not; it can be 1, 2, 4, 8, .*256$"),
        ({"m": 512}, 256, "and 512 does not"),
        ({}, 250, "and 8 does not; it can be 1, 2, 5, 10, 25, 50, 125, 250"),  # the default
        ({"m": 0}, 256, "m is a number from 1 to"),
    ],
)
def test_parameters_that_do_not_fit_the_dimension_are_refused(params: dict[str, int], dim: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_index("http://a:1", Index("IVF_PQ", params=params), dim)
    check_index("http://a:1", Index("IVF_PQ", params={"m": 5}), 250)
    check_index("http://a:1", Index("HNSW"), 251)
    check_index("http://a:1", Index("SCANN"), 250)
    with pytest.raises(InputError, match="scann needs an even number of dimensions, and the model has 251"):
        check_index("http://a:1", Index("SCANN"), 251)


def test_an_index_that_does_not_fit_is_refused_before_anything_is_stored(settings: Settings, photos: Photos) -> None:
    wrong = Index("SCANN") if is_lite(settings.uri) else Index("IVF_PQ", params={"m": 7})
    with pytest.raises(InputError, match=r"Milvus Lite has no index 'scann'|and 7 does not"):
        run_insert(photos.csv, settings, index=wrong)
    assert not collection_of(settings).exists()


def test_a_request_is_completed_by_the_present_index_or_the_number_of_rows() -> None:
    assert choose_index("a.db") is None
    assert resolve("a.db", Index(), 10).type == "FLAT"
    assert resolve("a.db", Index(), 5_000) == Index("IVF_FLAT", "COSINE", {"nlist": 1})
    assert resolve("http://a:1", Index(), 49_999) == Index("FLAT", "COSINE", {}, wanted="AUTO")
    assert resolve("http://a:1", Index(), 50_000) == Index("HNSW", "COSINE", {"M": 16, "efConstruction": 200})
    assert resolve("https://x.zillizcloud.com", Index(), 10).type == "AUTOINDEX"
    now = Index("HNSW", "IP", {"M": 8, "efConstruction": 100})
    assert resolve("a.db", Index(metric="L2"), 10_000, now) == Index("HNSW", "L2", now.params)
    assert resolve("a.db", Index("FLAT"), 10_000, now) == Index("FLAT", "IP", {})


def test_a_server_builds_a_requested_index_from_5000_rows_on() -> None:
    waiting = resolve("http://a:1", Index("HNSW", "IP", {"M": 8}), 4_999)
    assert waiting == Index("FLAT", "IP", {"M": 8, "efConstruction": 200}, wanted="HNSW")
    assert resolve("http://a:1", Index(), 5_000, waiting) == Index("HNSW", "IP", {"M": 8, "efConstruction": 200})
    # Version 0.1 built HNSW by default, whatever the number of rows.
    old = Index("HNSW", "COSINE", {"M": 16, "efConstruction": 200})
    assert resolve("http://a:1", Index(), 1_000, old) == Index("FLAT", "COSINE", old.params, wanted="HNSW")
    assert resolve("http://a:1", Index("FLAT"), 60_000, old) == Index("FLAT", "COSINE", {})
    assert resolve("http://a:1", Index(), 60_000, Index("FLAT", "COSINE")) == Index("FLAT", "COSINE", {})


def test_search_parameters_stay_the_same_over_neighbouring_pages() -> None:
    for index_type in ("HNSW", "IVF_FLAT", "SCANN", "DISKANN"):
        pages = [search_params("http://a:1", index_type, limit, filtered=False) for limit in (130, 200, 256)]
        assert pages[0] == pages[1] == pages[2]
        assert pages[0] != search_params("http://a:1", index_type, 257, filtered=False)
    assert search_params("http://a:1", "HNSW", 16_384, filtered=False) == {"ef": 32_768}
    assert search_params("http://a:1", "IVF_FLAT", 10, filtered=True) == {"nprobe": 65_536}
    assert search_params("http://a:1", "FLAT", 10, filtered=True) == {}


def built(settings: Settings, requested: Index) -> Index:
    """Return the index of a dozen rows: a server remembers the requested one and searches every row."""
    if is_lite(settings.uri):
        return requested
    return Index("FLAT", requested.metric, requested.params, wanted=requested.type)


@pytest.mark.long
@pytest.mark.parametrize(
    ("uri", "metric"),
    [("lite", "cosine"), ("lite", "ip"), ("lite", "l2"), ("server", "ip"), ("server", "l2")],
    indirect=["uri"],
)
def test_a_new_collection_gets_the_requested_index_and_scores_are_cosines(
    settings: Settings, photos: Photos, metric: str
) -> None:
    chosen = choose_index(settings.uri, "hnsw", metric, ("M=8",))
    run_insert(photos.csv, settings, index=chosen)
    assert collection_of(settings).index == built(
        settings, Index("HNSW", metric.upper(), {"M": 8, "efConstruction": 200})
    )
    hits = Searcher(settings).by_image(str(photos.paths[3]), limit=12).hits
    vectors = {key: np.asarray(row["embedding"]) for key, row in all_rows(settings).items()}
    assert hits[0].id == 3
    assert [hit.score for hit in hits] == pytest.approx([float(vectors[3] @ vectors[hit.id]) for hit in hits], abs=2e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.long
def test_an_existing_collection_changes_its_index_and_keeps_it(settings: Settings, photos: Photos) -> None:
    run_insert(photos.csv, settings)
    changed = run_insert(photos.csv, settings, index=choose_index(settings.uri, "ivf_sq8", "ip", ("nlist=2",)))
    assert did(changed) == {"unchanged": 12}
    assert collection_of(settings).index == built(settings, Index("IVF_SQ8", "IP", {"nlist": 2}))
    run_insert(photos.csv, settings)
    assert collection_of(settings).index == built(settings, Index("IVF_SQ8", "IP", {"nlist": 2}))
    assert Searcher(settings).by_image(str(photos.paths[3]), limit=1).hits[0].id == 3


@pytest.mark.long
def test_an_index_that_cannot_be_built_leaves_the_old_one(
    lite: Settings, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_insert(photos.csv, lite)
    collection = Collection(lite.uri, lite.collection)
    with pytest.raises(StoreError, match=r"index SCANN .*could not be built .*keeps FLAT"):
        collection.optimize(Index("SCANN", "COSINE"))  # `choose_index` would refuse it; here Milvus Lite does
    assert collection.index.type == "FLAT"
    assert Searcher(lite).by_image(str(photos.paths[3]), limit=1).hits[0].id == 3


def test_info_shows_the_index_and_warns_of_lost_hits(
    quick_command: Callable[..., CommandResult], photos: Photos, tmp_path: Path
) -> None:
    db = tmp_path / "s.db"
    refused = quick_command("insert", photos.csv, "--uri", db, "--model", "builtin", "--index", "diskann")
    assert (refused.status, refused.err.count("\n"), db.exists()) == (2, 1, False)
    arguments = ("--index", "hnsw", "--metric", "ip", "--index-param", "M=32", "--index-param", "efConstruction=77")
    assert quick_command("insert", photos.csv, "--uri", db, "--model", "builtin", *arguments).status == 0
    out = quick_command("info", "--uri", db).out
    assert "HNSW (M 32, efConstruction 77); with a filter it can miss hits on Milvus Lite" in out
    values = json.loads(quick_command("info", "--uri", db, "--json").out)
    assert (values["index"], values["metric"]) == ("HNSW", "IP")
    assert values["index_params"] == {"M": 32, "efConstruction": 77}
