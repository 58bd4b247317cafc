"""Published figures."""

from __future__ import annotations

from pipelines.evaluation.published import COCO, FLICKR30K, published_figures
from pipelines.models.registry import list_models


def test_published_figures_are_the_registrys_models_and_figures() -> None:
    expected = {spec.name: spec.quality for spec in list_models() if spec.quality}
    flickr, coco = published_figures(FLICKR30K), published_figures(COCO)
    assert set(flickr) == set(coco) == set(expected)
    for name, quality in expected.items():
        found = [figures[name]["text_to_image"]["recall@1"] for figures in (flickr, coco)]
        assert found == [quality.flickr, quality.coco]
