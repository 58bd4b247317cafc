"""Dates in everyday words are offered as filters, in the languages of the page."""

from __future__ import annotations

from datetime import date

import pytest

from pipelines.query.date_words import Offer, offer_dates

TODAY = date(2026, 3, 4)  # a Wednesday


@pytest.mark.parametrize(
    ("language", "line", "term", "rest"),
    [
        ("en", "beach in May 2021", "2021-05", "beach"),
        ("en", "Sept. 2019 dogs", "2019-09", "dogs"),
        ("en", "summer 2019", "2019-06..2019-08", ""),
        ("en", "winter of 2019 snow", "2019-12..2020-02", "snow"),
        ("en", "photos from last year -people", "2025", "photos -people"),
        ("en", "cake last month", "2026-02", "cake"),
        ("en", "last week", "2026-02-23..2026-03-01", ""),
        ("en", "a cat yesterday", "2026-03-03", "a cat"),
        ("en", "12 May 2021", "2021-05-12", ""),
        ("en", "on May 12th, 2021", "2021-05-12", ""),
        ("en", "a beach in 2019", "2019", "a beach"),
        ("de", "Strand im Mai 2021", "2021-05", "Strand"),
        ("de", "letztes Jahr am Meer", "2025", "am Meer"),
        ("de", "Sommer 2019", "2019-06..2019-08", ""),
        ("de", "Schnee vom 3. Jan. 2020", "2020-01-03", "Schnee"),
        ("de", "summer 2019", "2019-06..2019-08", ""),
        ("fr", "plage en août 2020", "2020-08", "plage"),
        ("fr", "l'année dernière", "2025", ""),
        ("fr", "été 2019", "2019-06..2019-08", ""),
        ("es", "playa en mayo de 2021", "2021-05", "playa"),
        ("es", "verano del 2019", "2019-06..2019-08", ""),
        ("es", "el año pasado perros", "2025", "perros"),
        ("ru", "пляж в мае 2021", "", ""),
        ("ru", "пляж май 2021 года", "2021-05", "пляж"),
        ("ru", "летом 2019", "2019-06..2019-08", ""),
        ("ru", "в прошлом году", "2025", ""),
        ("ja", "2021年5月の海", "2021-05", "の海"),
        ("ja", "2019年夏", "2019-06..2019-08", ""),
        ("ja", "去年 犬", "2025", "犬"),
        ("ko", "2021년 5월 바다", "2021-05", "바다"),
        ("ko", "2019년 여름", "2019-06..2019-08", ""),
        ("ko", "작년", "2025", ""),
        ("zh", "2021年5月 海滩", "2021-05", "海滩"),
        ("zh-CN", "2019年的夏天", "2019-06..2019-08", ""),
        ("zh-TW", "上個月 貓", "2026-02", "貓"),
        ("zh-TW", "2021年5月3日", "2021-05-03", ""),
        ("xx", "May 2021", "2021-05", ""),
        ("", "last year", "2025", ""),
    ],
)  # fmt: skip
def test_words_of_each_language(language: str, line: str, term: str, rest: str) -> None:
    offer = offer_dates(line, language, TODAY)
    if not term:  # the locative of Russian months is not among the names
        assert offer is None or offer.term == "taken:2021"
        return
    assert offer is not None
    assert (offer.term, offer.rest) == (f"taken:{term}", rest)


@pytest.mark.parametrize(
    "line",
    ["a maybe 20210 dog", "may flowers", "in the fall", "area 51", "2031", "+\"May 2021\"", "beach taken:2020 May 2021",
     "31 February 2021x", "model 2019b"],
)  # fmt: skip
def test_other_words_are_left_alone(line: str) -> None:
    assert offer_dates(line, "en", TODAY) is None


def test_a_day_that_does_not_exist_leaves_the_month() -> None:
    offer = offer_dates("31 February 2021", "en", TODAY)
    assert offer == Offer("February 2021", "taken:2021-02", "31")
    assert offer.line == "31 taken:2021-02"
