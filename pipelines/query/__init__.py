"""Queries of weighted texts, images and ids, filters on columns, and the text form of both.

Independent of models and databases. The command line, the page, the HTTP API and the notebook all build on it.
"""

from __future__ import annotations

from .filter_parser import parse_filter
from .filters import And, Compare, Contains, Filter, IsEmpty, Not, OneOf, Or, StartsWith, Under
from .query import MAX_LIMIT, MAX_PARTS, ImageSource, Part, Query, format_query, parse_query

__all__ = [
    "MAX_LIMIT", "MAX_PARTS", "And", "Compare", "Contains", "Filter", "ImageSource", "IsEmpty", "Not", "OneOf", "Or",
    "Part", "Query", "StartsWith", "Under", "format_query", "parse_filter", "parse_query",
]  # fmt: skip
