"""Importing Gradio writes none of its stub files for editors."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import inspect, pathlib, sys
find, opened = inspect.getfile, []
sys.addaudithook(lambda event, arguments: event == "open" and opened.append(str(arguments[0])))
from app.gradio_import import import_gradio
gradio = import_gradio()
assert not [path for path in opened if path.endswith(".pyi")]
assert inspect.getfile is find
assert pathlib.Path(inspect.getfile(gradio.Textbox)).name == "textbox.py"
assert callable(gradio.Textbox.submit) and gradio.Textbox.EVENTS
"""


def test_gradio_is_imported_without_its_stubs() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], check=True)
