"""`python -m pipelines models`."""

from __future__ import annotations

from .options import Json


def models(json: Json = False) -> None:
    """List the models, and which weights are already here."""
    from .output import print_models

    print_models(as_json=json)
