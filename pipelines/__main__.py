"""`python -m pipelines`: the same as `image-search`."""

from .cli import main

if __name__ == "__main__":
    main()
