"""Batched calls: each caller gets its own result, no batch waits to fill, and errors stay in their batch."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import InputError
from pipelines.query import Query, parse_query
from pipelines.search.batcher import Batcher
from pipelines.search.opened import Opened
from pipelines.search.ranking import Question
from tests.support.photos import Photos


def in_threads(count: int, work: object) -> None:
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        work(number)  # type: ignore[operator]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_every_caller_gets_its_own_result_and_batches_form() -> None:
    sizes: list[int] = []
    running = threading.Lock()

    def run(items: list[int]) -> list[int]:
        assert running.acquire(blocking=False), "two batches at once"
        sizes.append(len(items))
        time.sleep(0.002)
        running.release()
        return [item * 10 for item in items]

    batcher = Batcher(run, largest=8)
    wrong: list[int] = []

    def work(number: int) -> None:
        for step in range(20):
            item = number * 100 + step
            if batcher(item) != item * 10:
                wrong.append(item)

    in_threads(24, work)
    assert not wrong
    assert sum(sizes) == 24 * 20
    assert max(sizes) == 8
    assert len(sizes) < 24 * 20 / 3


def test_a_lone_caller_does_not_wait() -> None:
    batcher = Batcher(lambda items: items)
    seconds = []
    for number in range(1000):
        start = time.perf_counter()
        assert batcher(number) == number
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.001  # if there were a wait, each call would have it


def test_an_error_is_raised_for_every_caller_of_its_batch_and_no_other() -> None:
    first, caught = threading.Event(), []

    def run(items: list[int]) -> list[int]:
        first.set()
        time.sleep(0.05)
        if -1 in items:
            raise ValueError("broken")
        return items

    batcher = Batcher(run, largest=64)

    def work(number: int) -> None:
        if number:
            first.wait()
        try:
            assert batcher(-1 if number == 5 else number) == number
        except ValueError as error:
            caught.append(error)

    in_threads(10, work)
    assert len(caught) == 9
    assert len({id(error) for error in caught}) == 9
    assert batcher(7) == 7


def test_a_wrong_number_of_results_is_an_error() -> None:
    batcher: Batcher[int, int] = Batcher(lambda items: [])
    for _ in range(2):
        with pytest.raises(ValueError, match="zip"):
            batcher(1)


@pytest.mark.long
def test_searches_that_run_together_get_the_results_of_single_searches(
    lite: Settings, photos: Photos, tmp_path: Path
) -> None:
    """Different words, weights, ids, filters and limits at once take few calls of the model and of Milvus."""
    run_insert(photos.csv, lite)
    searcher = Searcher(lite)
    queries = [
        Query(parse_query(f"2*dog -cat{number} id:{number % 12}" if number % 2 else f"a tree {number}"), 3 + number % 2,
              filter=["", "year > 2012"][number % 3 == 0], min_score=-1 if number % 5 else None)
        for number in range(48)
    ]  # fmt: skip
    alone = [searcher.search(query).hits for query in queries]
    searcher = Searcher(lite)
    calls: list[int] = []
    with searcher.reading() as opened:
        together_calls = opened.ranker._together
    original = together_calls._run
    together_calls._run = lambda questions: (calls.append(len(questions)), original(questions))[1]  # type: ignore
    together: dict[int, object] = {}

    def ask(number: int) -> None:
        for index in (number, number + 16, number + 32):
            together[index] = searcher.search(queries[index]).hits

    in_threads(16, ask)
    for index, hits in enumerate(alone):
        got = together[index]
        assert [hit.id for hit in got] == [hit.id for hit in hits]  # type: ignore[attr-defined]
        assert [hit.score for hit in got] == pytest.approx([hit.score for hit in hits], abs=1e-3)  # type: ignore[attr-defined]
    assert sum(calls) == 48
    assert max(calls) > 1


def test_a_query_that_cancels_out_leaves_the_others_their_results(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite)
    searcher = Searcher(lite)
    queries = [Query(parse_query(text), 7) for text in ("dog", "dog -dog", "id:3", "2*tree +dog")]
    answers: dict[int, object] = {}

    def ask(number: int) -> None:
        try:
            answers[number] = len(searcher.search(queries[number]).hits)
        except InputError as error:
            answers[number] = str(error)

    in_threads(4, ask)
    assert [answers[number] for number in (0, 2, 3)] == [7, 7, 7]
    assert "cancel each other out" in str(answers[1])


def test_questions_that_are_asked_together_get_their_own_rows(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite)
    ranker = Opened(lite).ranker
    vectors = ranker.fetch_vectors([3, 8, 5])
    questions = [
        Question(vector, 7, expression) for vector, expression in zip(vectors, ["", "", "id > 5"], strict=True)
    ]
    rows = ranker.ask_together(questions)
    assert [rows[0][0][0], rows[1][0][0]] == [3, 8]
    assert len(rows[2]) == 6
    assert min(row[0] for row in rows[2]) == 6
