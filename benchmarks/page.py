"""Time the page in Chromium: from Enter to images, a scroll through thousands, from a click to a sharp photograph.

python -m benchmarks.page [--rows 5200] [--chromium /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from pipelines import Settings, run_insert
from pipelines.milvus.connection import close

from .harness import large_image

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

LARGE, SMALL = 12, 100  # number of photographs of 12 megapixels, and of images that the other rows share
WINDOWS_A_SECOND = (2, 4, 8, 16)  # scrolling speeds
WORDS = ("a cat", "a rocket", "coffee", "an astronaut", "something red")
TEN_MBIT = {"offline": False, "latency": 20, "downloadThroughput": 10e6 / 8, "uploadThroughput": 10e6 / 8}
ENTER = """async (words) => {
    const input = document.querySelector("#text input"), start = performance.now(), times = {};
    input.value = words;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    input.dispatchEvent(new KeyboardEvent("keypress", { key: "Enter", bubbles: true }));
    while (!times.ten) {
        await new Promise(requestAnimationFrame);
        const loaded = document.querySelectorAll(".cards .loaded").length, now = performance.now() - start;
        if (!document.querySelector(".status").textContent.includes(words)) continue;
        times.cards ??= now;
        if (loaded) times.first ??= now;
        if (loaded >= 10) times.ten = now;
    }
    return times;
}"""
SCROLL = """async ({ results, windows }) => {
    const frames = [], counts = [];
    for (let last = performance.now(), reached = 0; reached < results; ) {
        await new Promise(requestAnimationFrame);
        const milliseconds = performance.now() - last;
        frames.push(milliseconds);
        last += milliseconds;
        const items = document.querySelectorAll(".cards li");
        reached = Number(items[items.length - 1]?.dataset.index ?? 0) + 1;
        counts.push(document.querySelectorAll("*").length);
        scrollBy(0, windows * innerHeight * milliseconds / 1000);
    }
    return { frames, elements: Math.max(...counts) };
}"""
SHARP = """async (index) => {
    const start = performance.now(), image = document.querySelectorAll(".sheet img")[1];
    document.querySelector(`.cards li[data-index="${index}"] .image`).click();
    while (!(image.complete && image.naturalWidth > 1000)) await new Promise(requestAnimationFrame);
    return performance.now() - start;
}"""


def main() -> None:
    """Print the tables."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5_200)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        uri = make_collection(folder, options.rows)
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox", "--disable-gpu"])
        with serving(folder, uri) as address:
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            page = context.new_page()
            print_searches(page, address)
            print_scroll(context, page, address, options.rows)
            print_viewer(context, page, address)
        browser.close()


def make_collection(folder: Path, rows: int) -> str:
    """Index some photographs of 12 megapixels, labelled "large", and many rows that share smaller images."""
    sizes = [(4000, 3000)] * LARGE + [(1000, 667 + 50 * (number % 9)) for number in range(SMALL)]
    for number, size in enumerate(sizes):
        large_image(*size, number).save(folder / f"{number}.jpg", quality=90)
    with open(folder / "rows.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "label"])
        writer.writerows([number, f"{number}.jpg", "large"] for number in range(LARGE))
        writer.writerows([number, f"{LARGE + number % SMALL}.jpg", "small"] for number in range(LARGE, rows))
    uri = str(folder / "page.db")
    run_insert(folder / "rows.csv", Settings(uri=uri, model="builtin"))
    close(uri)
    return uri


@contextmanager
def serving(folder: Path, uri: str) -> Iterator[str]:
    """Run the page in a new process, and yield its address."""
    environment = {**os.environ, "IMAGE_SEARCH_CACHE": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "app", "--port", "0", "--uri", uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as program:
        try:
            assert program.stdout is not None
            yield program.stdout.readline().split()[2]
        finally:
            program.terminate()


def open_page(page: Page, address: str) -> None:
    """Open an address, and wait until ten images have loaded."""
    page.goto(address)
    page.wait_for_function("document.querySelectorAll('.cards .loaded').length >= 10", timeout=60_000)


def print_searches(page: Page, address: str) -> None:
    """Print the milliseconds from Enter to the cards, the first image and ten images, with thumbnails on the disk."""
    open_page(page, f"{address}/?q=warm+up&fold=0")
    for words in WORDS:  # makes the thumbnails
        page.evaluate(ENTER, words)
    times = [page.evaluate(ENTER, words) for words in WORDS]
    medians = [round(statistics.median(time[name] for time in times)) for name in ("cards", "first", "ten")]
    print(tabulate([medians], ["Enter → cards (ms)", "first image", "ten images"], tablefmt="github"), "\n")


def print_scroll(context: BrowserContext, page: Page, address: str, rows: int) -> None:
    """Scroll through the results at each speed, and print frame times, elements and script memory."""
    session = context.new_cdp_session(page)
    lines = []
    for windows in WINDOWS_A_SECOND:
        open_page(page, f"{address}/?q=a+cat&fold=0")
        measured: dict[str, Any] = page.evaluate(SCROLL, {"results": min(5_000, rows), "windows": windows})
        frames = sorted(measured["frames"])
        slow = sum(frame > 50 for frame in frames) / len(frames)
        session.send("HeapProfiler.collectGarbage")
        heap = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
        p50, p95 = frames[len(frames) // 2], frames[int(len(frames) * 0.95)]
        lines.append([windows, f"{p50:.0f}", f"{p95:.0f}", f"{slow:.1%}", measured["elements"], f"{heap:.1f}"])
    headings = ["windows a second", "frame p50 (ms)", "p95", "over 50 ms", "most elements", "script memory (MB)"]
    print(tabulate(lines, headings, tablefmt="github"), "\n")


def print_viewer(context: BrowserContext, page: Page, address: str) -> None:
    """Print the milliseconds from a click to a sharp photograph of 12 megapixels at 10 Mbit/s."""
    page.set_viewport_size({"width": 1280, "height": 800})
    open_page(page, f"{address}/?filter=label+%3D%3D+%22large%22&q=photo&fold=0")
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", TEN_MBIT)
    cold, warm = [], []
    for index in range(0, LARGE, 2):  # every second one, because the viewer fetches the next one in advance
        for times in (cold, warm):
            session.send("Network.clearBrowserCache")
            times.append(page.evaluate(SHARP, index))
            page.keyboard.press("Escape")
            page.wait_for_selector("dialog:not([open])", state="attached")
            time.sleep(1.5)
    lines = [[name, *(round(pick(times)) for pick in (statistics.median, max))] for name, times in
             (("preview is made", cold), ("preview is on disk", warm))]  # fmt: skip
    print(tabulate(lines, ["click → sharp, 12 megapixels", "median (ms)", "longest"], tablefmt="github"))


if __name__ == "__main__":
    main()
