"""The command line, `image-search`: one module for each command or group of them, and `output` prints all results.

Every option is a field of an options dataclass (see `pipelines.settings`). `parser` turns these into commands.
"""

from .commands import main

__all__ = ["main"]
