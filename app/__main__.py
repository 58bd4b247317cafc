"""Run `image-search serve` for `python -m app`."""

import sys

from pipelines.cli import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
