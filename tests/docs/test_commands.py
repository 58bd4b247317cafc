"""Every command in an `sh` block of the documentation exists, with the options that it is given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.cli.commands import group
from tests.support.program import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MANUAL = ROOT / "docs" / "cli.md"  # generated from the commands themselves


def commands_of(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command without its comment; a continued line counts as one."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if match := re.search(r"\b(image-search|make) +[^# ].*", line):
                yield shlex.split(match[0], comments=True)


@pytest.mark.parametrize("page", [page for page in PAGES if page != MANUAL], ids=lambda page: page.stem)
def test_commands_of_the_documentation_exist(page: Path) -> None:
    targets = re.findall(r"^([\w./-]+)(?=[ \w./-]*:(?!=))", (ROOT / "Makefile").read_text(), re.M)
    for program, name, *arguments in commands_of(page):
        if program == "make":
            assert name in targets
        else:
            group.commands[name].make_context(name, arguments)
