"""Images are decoded in processes that end when an image takes too long or too much memory."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from PIL import Image

from pipelines.errors import UnreadableImage
from pipelines.images import convert
from pipelines.images.convert import Converter
from pipelines.images.decode import decode
from tests.support.program import ROOT, program_env


@pytest.fixture
def converter() -> Iterator[Converter]:
    made = Converter(processes=1, seconds=60)
    yield made
    made.close()


def noise(width: int, height: int, format_name: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    levels = np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(levels).save(buffer, format_name, **options)
    return buffer.getvalue()


def process_of(converter: Converter) -> psutil.Process:
    return psutil.Process(converter._idle[-1]._process.pid)


@pytest.mark.long
def test_the_pixels_are_those_of_decoding(converter: Converter) -> None:
    data = noise(400, 300, "JPEG")
    made = converter(data, "PNG", size=224)
    assert made.media_type == "image/png"
    assert np.array_equal(decode(made.data), decode(data, size=224))


def test_a_reason_comes_back_and_the_process_stays(converter: Converter) -> None:
    converter(noise(20, 20), "WEBP")
    process = process_of(converter)
    for data, reason in ((b"", "the file is empty"), (b"<svg>", "markup"), (noise(20, 20)[:60], "damaged")):
        with pytest.raises(UnreadableImage, match=reason):
            converter(data, "PNG")
    converter(noise(20, 20), "JPEG", (10, 10))
    assert process_of(converter) == process


@pytest.mark.long
def test_an_image_that_takes_too_long_ends_its_process_and_no_other_image(converter: Converter) -> None:
    converter.warm_up()
    process = process_of(converter)
    converter._seconds = 0.01
    with pytest.raises(UnreadableImage, match=r"more than 0\.01 s"):
        converter(noise(1500, 1500), "PNG")
    assert not psutil.pid_exists(process.pid)
    converter._seconds = 60
    assert converter(noise(20, 20), "WEBP").data


def test_the_system_ends_what_computes_too_long_whatever_library_it_is_in(
    converter: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "_ON_THE_CLOCK", 1000)
    converter.warm_up()
    process = converter._idle[-1]
    converter._seconds = 0.05
    with pytest.raises(UnreadableImage, match=r"more than 0\.05 s"):
        converter(noise(1500, 1500), "PNG")
    assert process._process.returncode == -signal.SIGPROF


@pytest.mark.long
def test_an_image_that_only_waits_for_the_processor_is_not_refused(converter: Converter) -> None:
    """As on a busy machine, the process is stopped for longer than an image may take."""
    converter.warm_up()
    process = process_of(converter)
    converter._seconds = 5
    process.suspend()
    waiting = threading.Timer(6, process.resume)
    waiting.start()
    assert converter(noise(20, 20), "PNG").data
    waiting.join()
    assert process_of(converter) == process


def test_a_process_that_stands_still_is_given_up(converter: Converter) -> None:
    converter.warm_up()
    process_of(converter).suspend()
    converter._seconds = 0.2
    with pytest.raises(UnreadableImage, match=r"more than 0\.2 s"):
        converter(noise(20, 20), "PNG")


@pytest.mark.long
def test_a_slow_image_does_not_hold_up_another_one() -> None:
    converter = Converter(processes=2, seconds=60)
    converter._idle.extend(convert._Process(convert.MEMORY) for _ in range(2))
    slow = threading.Thread(target=converter, args=[noise(3000, 3000), "WEBP"])
    slow.start()
    assert converter(noise(20, 20), "WEBP").data
    assert slow.is_alive()
    slow.join()
    converter.close()


@pytest.mark.long
def test_an_image_that_takes_too_much_memory_is_refused() -> None:
    converter = Converter(processes=1, memory=2**28)
    bomb = io.BytesIO()
    Image.new("RGB", (9_000, 9_000)).save(bomb, "PNG", compress_level=1)
    with pytest.raises(UnreadableImage, match="256 MB of memory"):
        converter(bomb.getvalue(), "PNG")
    converter.close()


def test_a_process_that_dies_is_replaced(converter: Converter) -> None:
    converter(noise(20, 20), "WEBP")
    process = process_of(converter)
    process.kill()
    with pytest.raises(UnreadableImage, match="no decoder survives it"):
        converter(noise(20, 20), "WEBP")
    assert converter(noise(20, 20), "WEBP").data


def test_no_image_waits_for_a_new_process_where_one_is_idle() -> None:
    """Starting a process takes seconds on a busy machine, and an attacker may end one after another."""
    converter = Converter(processes=2, seconds=60)
    converter._idle.extend(convert._Process(convert.MEMORY) for _ in range(2))
    process_of(converter).kill()
    with pytest.raises(UnreadableImage, match="no decoder survives it"):
        converter(noise(20, 20), "WEBP")
    kept = process_of(converter)
    converter(noise(20, 20), "WEBP")
    assert process_of(converter) == kept
    assert len(converter._idle) == 1
    converter.close()


def test_ctrl_c_ends_no_image_that_is_in_work(converter: Converter) -> None:
    """A terminal sends Ctrl-C to all processes; the program first stores what it has begun."""
    converter.warm_up()
    process = process_of(converter)
    process.send_signal(signal.SIGINT)
    assert converter(noise(20, 20), "PPM").data
    assert process_of(converter) == process


def test_the_processes_end_with_a_program_that_is_killed() -> None:
    """They end when the pipe from which they read is closed."""
    code = (
        "import os; from pipelines.images.convert import Converter; c = Converter(1); c.warm_up();"
        "print(c._idle[0]._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=program_env({}), capture_output=True, text=True)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(done.stdout)).wait(timeout=30)
