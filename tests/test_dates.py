"""Dates are read in the forms that people and programs write, and in no other."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dates import read_date, read_moment
from pipelines.fields import format_date


def ms(*parts: int) -> int:
    """Return a moment in milliseconds since 1970."""
    return round(datetime(*parts, tzinfo=timezone.utc).timestamp() * 1000)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-05-01", ms(2020, 5, 1)),
        (" 2020-05-01 ", ms(2020, 5, 1)),
        ("2020-5-1", ms(2020, 5, 1)),
        ("2020/05/01", ms(2020, 5, 1)),
        ("2020.05.01", ms(2020, 5, 1)),
        ("2020-05-01T10:11", ms(2020, 5, 1, 10, 11)),
        ("2020-05-01 10:11:12", ms(2020, 5, 1, 10, 11, 12)),
        ("2020-05-01T10:11:12.5", ms(2020, 5, 1, 10, 11, 12) + 500),
        ("2020-05-01T10:11:12.123456789Z", ms(2020, 5, 1, 10, 11, 12) + 123),
        ("2020-05-01T10:11:12+02:00", ms(2020, 5, 1, 8, 11, 12)),
        ("2020-05-01T23:00-0330", ms(2020, 5, 2, 2, 30)),
        ("2020:05:01 10:11:12", ms(2020, 5, 1, 10, 11, 12)),
        ("2020:05:01 10:11:12+02:00", ms(2020, 5, 1, 8, 11, 12)),
        ("1 May 2020", ms(2020, 5, 1)),
        ("1st of May 2020", None),
        ("01-Sep-2020", ms(2020, 9, 1)),
        ("May 1, 2020", ms(2020, 5, 1)),
        ("Sept. 3rd, 2020 3:04 PM", ms(2020, 9, 3, 15, 4)),
        ("Fri, 01 May 2020 10:11:12 GMT", ms(2020, 5, 1, 10, 11, 12)),
        ("12 december 1999 12:00 am", ms(1999, 12, 12)),
        ("0001-01-01", ms(1, 1, 1)),
        ("9999-12-31T23:59:59.999", ms(9999, 12, 31, 23, 59, 59) + 999),
        ("0001-01-01T00:00+01:00", None),
        ("2020-02-30", None),
        ("2019-02-29", None),
        ("2020-13-01", None),
        ("2020-05/01", None),
        ("2020-05-01T24:00", None),
        ("2020-05-01T10:60", None),
        ("2020-05-01T10", None),
        ("2020-05-01 13:00 PM", None),
        ("2020-05-01T10:00+24:00", None),
        ("1 Mai 2020", None),
        ("1 May 2 2020", None),
        ("1 May 20", None),
        ("May 2020", None),
        ("01.05.20", None),
        ("20200501", None),
        ("2020", None),
        ("10:11", None),
        ("٢٠٢٠-٠٥-٠١", None),
        ("", None),
    ],
)
def test_a_date_has_one_reading_or_none(text: str, expected: int | None) -> None:
    assert read_date(text) == (expected, expected)


@pytest.mark.parametrize(
    ("text", "day_first", "month_first"),
    [
        ("01/02/2020", ms(2020, 2, 1), ms(2020, 1, 2)),
        ("1-2-2020 10:11", ms(2020, 2, 1, 10, 11), ms(2020, 1, 2, 10, 11)),
        ("31/12/2020", ms(2020, 12, 31), None),
        ("12/31/2020", None, ms(2020, 12, 31)),
        ("05/05/2020", ms(2020, 5, 5), ms(2020, 5, 5)),
        ("01.02.2020", ms(2020, 2, 1), None),
        ("31/31/2020", None, None),
        ("30/02/2020", None, None),
    ],
)
def test_a_date_without_the_year_first_may_have_the_day_or_the_month_first(
    text: str, day_first: int | None, month_first: int | None
) -> None:
    assert read_date(text) == (day_first, month_first)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2019", ms(2019, 1, 1)), ("2019-05", ms(2019, 5, 1)), ("2019-05-01T10:00", ms(2019, 5, 1, 10)),
     ("31/12/2020", ms(2020, 12, 31)), ("01/02/2020", None), ("2019-13", None), ("0000", None), ("19", None)],
)  # fmt: skip
def test_a_moment_is_a_date_with_one_reading_or_the_start_of_a_period(text: str, expected: int | None) -> None:
    assert read_moment(text) == expected


moments = st.datetimes().map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000))


@given(moments)
def test_a_date_is_read_back_as_it_is_shown(moment: datetime) -> None:
    milliseconds = (moment - datetime(1970, 1, 1)) // timedelta(milliseconds=1)
    assert read_date(format_date(milliseconds)) == (milliseconds, milliseconds)
