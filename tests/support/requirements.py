"""Tests that need a program or a package that may be missing."""

from __future__ import annotations

import os

import pytest


def require_or_skip(variable: str, reason: str) -> None:
    """Skip a test because what it needs is missing. In CI, which sets the variable to 1, fail instead."""
    if os.environ.get(variable) == "1":
        pytest.fail(f"{reason} ({variable}=1)")
    pytest.skip(reason)
