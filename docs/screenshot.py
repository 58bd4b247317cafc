"""Make `docs/screenshot.png`: the search page with the gallery, the builtin model and one query.

    python docs/screenshot.py [QUERY]

The script makes the gallery in `gallery/` (`docs/gallery/README.md` lists its requirements) and keeps the downloaded
packages there. It also needs playwright and Chromium; the environment variable CHROMIUM names a Chromium that is not
on the path.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "screenshot.png"
GALLERY = ROOT / "gallery"
QUERY = "an old building"
VISIBLE_IMAGES = 10
# 256 colours reduce the file to a third of its size, without a visible difference in the README.
COLOURS = 256


def take_screenshot(query: str) -> bytes:
    """Index the gallery, start the page, and return a PNG of the page's answer to the query."""
    run("docs/gallery/make_gallery.py", str(GALLERY))
    with tempfile.TemporaryDirectory() as folder:
        uri = f"{folder}/gallery.db"
        run("-m", "pipelines", "insert", f"{GALLERY}/photographs.csv", "--uri", uri, "--model", "builtin")
        command = [sys.executable, "-m", "pipelines", "serve", "--uri", uri, "--port", "0"]
        page = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            return open_page(f"{read_address(page)}/?{urlencode({'q': query})}")
        finally:
            page.terminate()
            page.wait()


def run(*arguments: str) -> None:
    """Run Python in the repository."""
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)


def read_address(page: subprocess.Popen[str]) -> str:
    """Return the address that the page prints when it has started."""
    assert page.stdout is not None
    for line in page.stdout:
        if match := re.search(r"http://\S+", line):
            return match[0]
    raise RuntimeError("the page ended before it printed its address")


def open_page(address: str) -> bytes:
    """Open the address in Chromium, wait for the images, and return a PNG."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    loaded = "[...document.images].filter(image => image.complete && image.naturalWidth > 100).length"
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light", locale="en-GB")
        page.goto(address)
        page.wait_for_function(f"{loaded} >= {VISIBLE_IMAGES}")
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(1000)  # images fade in
        return page.screenshot()


def shrink(png: bytes) -> bytes:
    """Return the same image with a palette of COLOURS colours."""
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    palette = image.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=3)
    image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    TARGET.write_bytes(shrink(take_screenshot(" ".join(sys.argv[1:]) or QUERY)))
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")
