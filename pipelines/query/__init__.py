"""Queries of weighted texts, images and ids, filters on columns, and the text form of both.

Independent of models and databases. The command line, the page, the HTTP API and the notebook all build on it.
"""

from __future__ import annotations

from .date_terms import date_filter
from .filter_parser import parse_filter
from .filters import And, Compare, Contains, Filter, IsEmpty, Not, OneOf, Or, StartsWith, Under
from .language import Line, format_query, parse_line, parse_query
from .order import Order, parse_order
from .query import MAX_LIMIT, MAX_PARTS, ImageSource, Part, Query

__all__ = [
    "MAX_LIMIT", "MAX_PARTS", "And", "Compare", "Contains", "Filter", "ImageSource", "IsEmpty", "Line", "Not", "OneOf",
    "Or", "Order", "Part", "Query", "StartsWith", "Under", "date_filter", "format_query", "parse_filter", "parse_line",
    "parse_order", "parse_query",
]  # fmt: skip
