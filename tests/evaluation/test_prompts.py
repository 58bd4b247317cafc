"""Prompt templates."""

from __future__ import annotations

from pipelines.evaluation.prompts import read_templates


def test_the_openai_ensemble_has_80_templates() -> None:
    templates = read_templates("openai")
    assert len(set(templates)) == len(templates) == 80
    assert all(template.count("{}") == 1 for template in templates)
