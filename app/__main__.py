"""`python -m app`: the same as `image-search serve`."""

import sys

from pipelines.cli import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
