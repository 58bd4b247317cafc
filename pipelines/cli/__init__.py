"""The command line, `image-search`: one module per command, `output` for everything that is printed.

Every option is a field of an options dataclass (see `pipelines.settings`); `parser` makes commands of them.
"""

from .commands import main

__all__ = ["main"]
