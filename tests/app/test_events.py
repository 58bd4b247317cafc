"""Events are read whole before Gradio sees them. Each test fails if its check is removed."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import events

EVENT: dict[str, Any] = {"data": [], "event_data": {"address": "?q=x", "turn": 1}, "fn_index": 1, "session_hash": "abc"}


def join(client: TestClient, **changes: object) -> int:
    """Send an event with some of its values replaced, and return the status."""
    body = json.dumps({**EVENT, **changes})
    return client.post("/gradio_api/queue/join", content=body, headers={"Content-Type": "application/json"}).status_code


def result(client: TestClient, session: str) -> str:
    return client.get(f"/gradio_api/queue/data?session_hash={session}").text


@pytest.mark.parametrize(
    "changes",
    [{"session_hash": name} for name in (None, "", "\ud800", "a b", "ä", "x" * 65, 5, ["a"], "a\n")]
    + [{"fn_index": index} for index in (None, -1, 2, 99, 2**40, 1.0, True, "1", [])]
    + [{"data": data} for data in (None, "", {}, [1], [[[]]])]
    + [{"event_data": data} for data in ([], "x", 5, True)]
    + [{"trigger_id": trigger} for trigger in ("a", 1.5, {})]
    + [{"batched": True}, {"simple_format": True}, {"oauth_token": "x"}],
)  # fmt: skip
def test_what_the_page_never_sends_is_refused(open_client: TestClient, changes: dict[str, object]) -> None:
    assert join(open_client, **changes) == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"5", b"null", b'"x"', b"{", b"\xff", b"[" * 100_000, b'{"data": NaN}', b'{"data": 1e999}',
     b'{"data": ' + b"9" * 5000 + b"}", b'{"a": 9007199254740993}', b'{"a": ' + b"[" * 30 + b"]" * 30 + b"}"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["queue/join", "cancel", "reset"])
def test_what_is_no_plain_json_is_refused(open_client: TestClient, path: str, body: bytes) -> None:
    assert open_client.post(f"/gradio_api/{path}", content=body).status_code == 400


def test_a_number_of_a_million_digits_is_refused_unread() -> None:
    """Python itself refuses such numbers since 3.10.7; the test turns that limit off."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    began = time.thread_time()
    try:
        with pytest.raises(ValueError, match="too large"):
            events._read(b'{"a": %s}' % (b"9" * 10**6))
    finally:
        sys.set_int_max_str_digits(limit)
    assert time.thread_time() - began < 0.5


@pytest.mark.parametrize(("path", "body"), [("cancel", {"session_hash": "\ud800"}), ("reset", {"x": "\udfff"})])
def test_an_error_about_text_that_cannot_be_sent_is_sent(
    open_client: TestClient, path: str, body: dict[str, str]
) -> None:
    answer = open_client.post(f"/gradio_api/{path}", content=json.dumps(body))
    assert answer.status_code == 422


def test_half_a_character_is_left_out_of_a_search(open_client: TestClient) -> None:
    assert join(open_client, event_data={"address": "?q=a", "text": "ca\ud83dt", "turn": 2}) == 200
    answers = result(open_client, "abc")
    assert '"success":true' in answers
    assert "cat" in answers


def test_the_largest_number_of_javascript_comes_back(open_client: TestClient) -> None:
    assert join(open_client, event_data={"address": "", "turn": 2**53}, session_hash="big") == 200
    assert '"turn":9007199254740992' in result(open_client, "big")


@pytest.mark.parametrize("name", ["unknown", "%ED%A0%80", "", "a" * 9_999, "abc&session_hash=unknown"])
def test_nobody_waits_for_answers_to_what_was_not_asked(
    open_client: TestClient, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    assert open_client.get(f"/gradio_api/queue/data?session_hash={name}").status_code == 404
    assert not caplog.records


@pytest.mark.parametrize("name", ["a" * 65, "%ED%A0%80", "ä", "a%0Ab"])
def test_no_other_name_keeps_a_session(open_client: TestClient, name: str) -> None:
    """The test sends HEAD, which Gradio refuses with 405, because a GET that is answered does not end."""
    assert [open_client.head(f"/gradio_api/heartbeat/{one}").status_code for one in ("a" * 64, name)] == [405, 404]
