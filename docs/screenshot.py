"""Makes `docs/screenshot.png` from the real page: the sample images, the builtin model, one search.

    python docs/screenshot.py [QUERY]

Needs what `make demo` installs, and playwright and a Chromium (CHROMIUM names one that is not on the path).
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "screenshot.png"
SIZE = {"width": 1280, "height": 800}
# A palette makes a third of the size of what is mostly photographs, and the README's readers see no difference.
COLOURS = 256


def take(query: str) -> bytes:
    """A PNG of the page with the answer to a query."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"{folder}/sample.db"
        run("data/build_sample.py")
        run("-m", "pipelines", "insert", "data/sample.csv", "--uri", uri, "--model", "builtin")
        command = [sys.executable, "-m", "app", "--uri", uri, "--port", "0"]
        page = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert page.stdout is not None
            address = page.stdout.readline().split()[2]
            return photograph(f"{address}/?{urlencode({'q': query})}")
        finally:
            page.terminate()
            page.wait()


def run(*arguments: str) -> None:
    """Runs Python in the repository."""
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)


def photograph(address: str) -> bytes:
    """Opens the address and waits until all images are there."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport=SIZE, color_scheme="light", locale="en-GB")
        page.goto(address)
        page.wait_for_selector("[data-kind=results]")
        page.wait_for_function("document.querySelectorAll('.cards .loaded').length >= 10")
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(600)  # the images fade in
        return page.screenshot()


def shrink(png: bytes) -> bytes:
    """The same image with a palette."""
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    palette = image.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=3)
    image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    TARGET.write_bytes(shrink(take(" ".join(sys.argv[1:]) or "a cup of coffee")))
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")
