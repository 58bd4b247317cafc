"""The notebook runs from its first cell to its last, as it is in the repository, and keeps what it printed and drew."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def outputs(cell: nbformat.NotebookNode) -> str:
    """Return all text that a cell printed or returned."""
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell["outputs"])


def has_image(cell: nbformat.NotebookNode) -> bool:
    return any("image/jpeg" in output.get("data", {}) for output in cell["outputs"])


def check_outputs(notebook: nbformat.NotebookNode) -> None:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = [outputs(cell) for cell in cells]
    assert "inserted=13" in text[2]
    assert text[3].count("(") == 4  # four hits
    assert len([cell for cell in cells if has_image(cell)]) == 3
    assert "image-text-embedding/clip" in text[7]
    assert "a motorcycle" in text[8]


def test_quickstart_keeps_its_outputs() -> None:
    """A viewer that does not run the notebook shows its images, but no path of the machine that ran it."""
    text = (NOTEBOOKS / "quickstart.ipynb").read_text(encoding="utf-8")
    check_outputs(nbformat.reads(text, as_version=4))
    assert len(text) < 500_000
    assert not re.search(r"(/tmp|/home|/root|/Users|site-packages)/", text)


@pytest.mark.program  # it starts a kernel
def test_quickstart_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOKS / "quickstart.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    resources = {"metadata": {"path": str(NOTEBOOKS)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    check_outputs(notebook)
