"""The notebook runs from its first cell to its last, as it is in the repository."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def outputs(cell: nbformat.NotebookNode) -> str:
    """All text a cell printed or returned."""
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell["outputs"])


def test_quickstart_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOKS / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit the notebook without its outputs"
    resources = {"metadata": {"path": str(NOTEBOOKS)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = [outputs(cell) for cell in cells]
    assert "inserted=13" in text[2]
    assert text[3].count("(") == 4  # four hits
    images = [cell for cell in cells if any("image/png" in output.get("data", {}) for output in cell["outputs"])]
    assert len(images) == 3
    assert "image-text-embedding/clip" in text[7]
    assert "a motorcycle" in text[8]
