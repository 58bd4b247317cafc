"""Request bodies wait on disk until they are complete; aborted and oversize ones never reach the application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from app import bodies
from app.bodies import Bodies

MB = 2**20


class Application:
    """Reads bodies, and answers when it is told to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message["body"])
            more = message["more_body"]
        self.bodies.append(b"".join(parts))
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"ok"})


async def post(
    checked: Bodies, parts: Sequence[bytes | None], client: str = "1.2.3.4", path: str = "/api/search",
    kind: bytes = b"application/json", length: bytes = b"0",
) -> int:  # fmt: skip
    """Send a request in parts and return the status, 0 for no answer. With a part of None, the client then hangs up."""
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts if part]
    messages.append({"type": "http.disconnect"} if None in parts else {"type": "http.request", "more_body": False})
    statuses = [0]

    async def receive() -> Message:
        await asyncio.sleep(0)
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        statuses.append(message.get("status", statuses[-1]))

    headers = [(b"content-type", kind), (b"content-length", length)]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "client": (client, 1)}
    await checked(scope, receive, send)
    return statuses[-1]


def played(test: Callable[[Application, Bodies], Awaitable[None]]) -> None:
    async def play() -> None:
        application = Application()
        await test(application, Bodies(application))

    asyncio.run(play())


@pytest.mark.parametrize("sizes", [[], [5], [70_000, 1], [MB, MB, 3]])
def test_a_complete_body_arrives_as_it_was_sent(sizes: list[int]) -> None:
    async def test(application: Application, checked: Bodies) -> None:
        application.go_on.set()
        parts = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
        assert await post(checked, parts) == 200
        assert application.bodies == [b"".join(parts)]

    played(test)


def test_an_aborted_body_is_never_seen() -> None:
    async def test(application: Application, checked: Bodies) -> None:
        assert await post(checked, [bytes(MB), None]) == 0
        assert application.bodies == []
        assert not checked._on_disk

    played(test)


@pytest.mark.parametrize(("path", "limit"), [("/gradio_api/queue/join", MB), ("/api/search", 25 * MB)])
def test_a_body_without_a_length_is_refused_at_its_limit(path: str, limit: int) -> None:
    async def test(application: Application, checked: Bodies) -> None:
        application.go_on.set()
        assert await post(checked, [bytes(MB)] * (limit // MB), path=path) == 200
        assert await post(checked, [bytes(MB)] * (limit // MB) + [b"x"], path=path) == 413

    played(test)


@pytest.mark.parametrize("length", [b"26214401", b"-1", b"9" * 5_000, b"a"])
def test_a_body_is_refused_by_its_declared_length_before_it_comes(length: bytes) -> None:
    async def test(application: Application, checked: Bodies) -> None:
        assert await post(checked, [None], length=length) == 413

    played(test)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_large_body_waits_on_disk() -> None:
    def is_its_file(descriptor: Path) -> bool:
        try:
            status = descriptor.stat()
        except OSError:
            return False
        return (status.st_size, status.st_nlink) == (3 * MB, 0)  # its name is removed already

    async def test(application: Application, checked: Bodies) -> None:
        task = asyncio.create_task(post(checked, [bytes(MB)] * 3))
        while not application.bodies:
            await asyncio.sleep(0.01)
        assert any(map(is_its_file, Path("/proc/self/fd").iterdir()))
        application.go_on.set()
        assert await task == 200

    played(test)


def test_json_of_many_values_is_refused() -> None:
    """Two million unknown names once kept a page busy for a minute and a half."""

    async def test(application: Application, checked: Bodies) -> None:
        application.go_on.set()
        assert await post(checked, [b"{},"] * 20_000) == 200
        assert await post(checked, [b"{},"] * 20_001) == 413
        assert await post(checked, [b"," * 30_000], kind=b"multipart/form-data; boundary=b") == 200

    played(test)


def test_a_client_and_all_together_have_a_limit_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MOST_OF_CLIENT", 3 * MB)
    monkeypatch.setattr(bodies, "MOST_OF_ALL", 5 * MB)

    async def test(application: Application, checked: Bodies) -> None:
        async def start(client: str) -> asyncio.Task[int]:
            known = len(application.bodies)
            task = asyncio.create_task(post(checked, [bytes(2 * MB)], client))
            for _ in range(500):  # five seconds, because the fourth would wait for ever if none were refused
                if task.done() or len(application.bodies) > known:
                    break
                await asyncio.sleep(0.01)
            return task

        first, second, third, fourth = [await start(client) for client in "aabc"]
        assert [task.done() for task in (first, second, third, fourth)] == [False, True, False, True]
        application.go_on.set()
        assert [await task for task in (first, second, third, fourth)] == [200, 503, 200, 503]
        assert await post(checked, [bytes(2 * MB)], "a") == 200

    played(test)


def test_large_bodies_are_read_two_at_a_time_and_small_ones_pass_them() -> None:
    async def test(application: Application, checked: Bodies) -> None:
        large = [asyncio.create_task(post(checked, [bytes(100_000)], client)) for client in "abcd"]
        small = asyncio.create_task(post(checked, [b"small"], "e"))
        while len(application.bodies) < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # long enough for another one to be read
        assert sorted(map(len, application.bodies)) == [5, 100_000, 100_000]
        application.go_on.set()
        assert await asyncio.gather(*large, small) == [200] * 5

    played(test)


def test_large_bodies_of_one_client_hold_up_nobody_elses() -> None:
    """The application is slow with the first client's bodies, and has not begun to answer them."""

    async def test(application: Application, checked: Bodies) -> None:
        slow = [asyncio.create_task(post(checked, [bytes(100_000)], "a")) for _ in range(5)]
        while not application.bodies:
            await asyncio.sleep(0.01)
        other = asyncio.create_task(post(checked, [bytes(100_001)], "b"))
        await asyncio.sleep(0.1)
        assert [*map(len, application.bodies)] == [100_000, 100_001]
        application.go_on.set()
        assert await asyncio.gather(*slow, other) == [200] * 6

    played(test)


def test_an_upload_of_the_page_waits_for_nobodys_search() -> None:
    async def test(application: Application, checked: Bodies) -> None:
        slow = [asyncio.create_task(post(checked, [bytes(100_000)], client)) for client in "ab"]
        while len(application.bodies) < 2:
            await asyncio.sleep(0.01)
        upload = asyncio.create_task(post(checked, [bytes(100_001)], "c", "/gradio_api/upload"))
        await asyncio.sleep(0.1)
        assert [*map(len, application.bodies)] == [100_000, 100_000, 100_001]
        application.go_on.set()
        assert await asyncio.gather(*slow, upload) == [200] * 3

    played(test)
