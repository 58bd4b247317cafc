"""The page of the command line shows what `--help` prints today."""

from __future__ import annotations

from docs.make_cli import TARGET, render_page
from pipelines.cli.commands import group


def test_the_page_shows_the_manual_of_every_command() -> None:
    page = TARGET.read_text(encoding="utf-8")
    assert page == render_page(), "docs/cli.md is old: write it again with `python -m docs.make_cli`"
    assert all(f"## image-search {name}\n" in page for name in group.commands)
