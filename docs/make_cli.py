"""Write `docs/cli.md`: the manual of every command, as `--help` prints it.

    python -m docs.make_cli

`tests/docs/test_cli_page.py` fails if the page is out of date.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from pipelines.cli.commands import group

TARGET = Path(__file__).with_name("cli.md")
WIDTH = 100  # characters a line
HEAD = """# Command line

`python -m docs.make_cli` wrote this page from the manuals of the commands; do not edit it by hand.
`python -m pipelines` is the same as `image-search`, and `python -m app` the same as `image-search serve`.
"""


def render_page() -> str:
    """Return the page: one section for `image-search` and one for each of its commands."""
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    with click.Context(group, info_name="image-search", terminal_width=WIDTH, **group.context_settings) as context:
        yield _section(context)
        for name, command in group.commands.items():
            yield _section(click.Context(command, context, info_name=name, **command.context_settings))


def _section(context: click.Context) -> str:
    lines = "\n".join(line.rstrip() for line in context.get_help().splitlines())
    return f"## {context.command_path}\n\n```text\n{lines}\n```\n"


if __name__ == "__main__":
    TARGET.write_text(render_page(), encoding="utf-8")
    print(f"wrote {TARGET}")
