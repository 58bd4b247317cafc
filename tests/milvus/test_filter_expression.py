"""Filters in Milvus's language: what each becomes, what is refused, and that no text escapes from its quotes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.milvus.filter_expression import to_expression
from pipelines.milvus.literals import text_literal
from pipelines.query import Contains, Under
from tests.support.filters import FIELDS, parse_checked


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ('label == "cat" and year >= 2020', '(label == "cat") and (year >= 2020)'),
        ("label == 'cat' && !(year < 2020)", '(label == "cat") and ((year >= 2020 or year is null))'),
        ("year != 2020", "(year != 2020 or year is null)"),
        ("not (year == 2020 or sold)", "((year != 2020 or year is null)) and (sold != true)"),
        ("year not in [1, 2]", "(year not in [1, 2] or year is null)"),
        ("price < 5", "price < 5.0"),
        ("year == 2020.0", "year == 2020"),
        ("sold in [true]", "(sold == true)"),
        ("not sold", "sold != true"),
        ("year is not empty", "year is not null"),
        ("price is empty", "id in []"),
        ('label contains "100%_"', 'label like "%100\\\\%\\\\_%"'),
        ('path under "/photos/2020/"', '(path >= "/photos/2020/" and path < "/photos/20200")'),
        ('not path under "/a/../b"', '(path < "/b/" or path >= "/b0")'),
        ('label startswith "ca"', '(label >= "ca" and label < "ca\U0010ffff")'),
        ("taken >= 2020-05-01", "xd__taken >= 1588291200000"),
        ("taken == '2020-05-01T02:00+02:00'", "xd__taken == 1588291200000"),
        ("not taken < 2020", "(xd__taken >= 1577836800000 or xd__taken is null)"),
        ("taken in [2020, 2020-05]", "xd__taken in [1577836800000, 1588291200000]"),
        ("taken is empty", "xd__taken is null"),
        ("label >= 2020-05-01", 'label >= "2020-05-01"'),
        ("`Gro\u0308ße (cm)` > 3", "x__Gr_f6__df_e_20__28_cm_29_ > 3"),
        ("like >= 1 and 描述 == 2", "(x__like >= 1) and (x___63cf__8ff0_ == 2)"),
        ("a_or_b == 1 or not_c == 2", None),
    ],
)  # fmt: skip
def test_filters_become_milvus_expressions(text: str, expression: str | None) -> None:
    if expression is None:
        with pytest.raises(InputError, match="'a_or_b'"):
            parse_checked(text)
        return
    assert to_expression(parse_checked(text), FIELDS, lite=True) == expression


def test_under_finds_a_folder_however_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = to_expression(Under(str(folder)), FIELDS, lite=True)
    for typed in ("photos/..//photos", "~/photos/", ".", "./", "../photos/", f"file://{folder}", f"{folder}//"):
        typed = typed if typed != "photos/..//photos" else f"{tmp_path}/{typed}"
        assert to_expression(Under(typed), FIELDS, lite=True) == expected, typed


def test_under_a_link_finds_images_by_the_links_path_and_by_the_real_one(tmp_path: Path) -> None:
    (tmp_path / "deep" / "photos").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "photos")
    link, real = (f'(path >= "{tmp_path}/{name}/" and path < "{tmp_path}/{name}0")' for name in ("link", "deep/photos"))
    assert to_expression(Under(f"{tmp_path}/link"), FIELDS, lite=True) == f"({link} or {real})"
    link, real = (f'(path < "{tmp_path}/{name}/" or path >= "{tmp_path}/{name}0")' for name in ("link", "deep/photos"))
    assert to_expression(~Under(f"{tmp_path}/link"), FIELDS, lite=True) == f"({link} and {real})"


def test_two_dots_behind_a_link_lead_where_the_system_goes(tmp_path: Path) -> None:
    (tmp_path / "deep" / "photos").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "photos")
    expected = to_expression(Under(f"{tmp_path}/deep"), FIELDS, lite=True)
    assert to_expression(Under(f"{tmp_path}/link/.."), FIELDS, lite=True) == expected


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("lable == 1", 1, "'lable'; the columns are: path, id, label, year, price, sold, taken, `Größe (cm)`"),
        ("label == 1", 7, "'label' holds text, not 1"),
        ("year == 'x'", 6, "'year' holds whole numbers"),
        ("year == 99999999999999999999", 6, "64 bits"),
        ("taken == 'soon'", 7, "'taken' holds dates as 2019-05-01, not \"soon\""),
        ("taken == '01/02/2020'", 7, "dates"),
        ("taken == 2.5", 7, "dates"),
        ("taken == true", 7, "dates"),
        ("taken startswith '2020'", 7, "not text"),
        ("year == 1e400", 6, "not inf"),
        ("sold > true", 6, "== or !="),
        ("year contains 'a'", 6, "whole numbers, not text"),
        ("label == '\ud800'", 7, "not valid UTF-8"),
    ],
)  # fmt: skip
def test_a_filter_that_does_not_fit_the_columns_says_where_and_why(text: str, position: int, reason: str) -> None:
    with pytest.raises(InputError) as error:
        parse_checked(text)
    message = str(error.value)
    assert message.startswith(f"filter, character {position}: ")
    assert reason.replace("'.'", "')'") in message
    assert "\n" not in message


def test_servers_are_not_asked_for_what_they_cannot() -> None:
    with pytest.raises(InputError, match="a Milvus server cannot look inside texts"):
        to_expression(Contains("label", "x"), FIELDS, lite=False)
    assert to_expression(Under("/p"), FIELDS, lite=False)


def test_a_text_literal_cannot_be_left() -> None:
    literal = text_literal('a" or "1"="1\\\n\t')
    assert literal == r'"a\" or \"1\"=\"1\\\n\t"'
    assert json.loads(literal) == 'a" or "1"="1\\\n\t'
