"""Filters as text, for the command line, the page's addresses and the HTTP API.

| written | means |
| --- | --- |
| `label == "cat"`, `!=`, `year < 2020`, `<=`, `>`, `>=` | compare with a text, a number, a date, `true` or `false` |
| `label in ["cat", "dog"]`, `not in` | the value is one of these |
| `path under "/photos/2020"` | the image is in this folder, at any depth |
| `label startswith "ca"` | the value starts with this text |
| `label contains "at"` | the value contains this text (not every database can do this) |
| `year is empty`, `is not empty` | the cell was empty in the CSV |
| `featured`, `not featured` | a column of `true` and `false` |
| `… and …`, `… or …`, `not …`, `( … )` | combine; `not` binds before `and`, `and` before `or` |

Texts are written in double or single quotes, with the escapes `\\"`, `\\'`, `\\\\`, `\\n`, `\\r` and `\\t`. Dates need
no quotes: `taken >= 2019-05-01`; 2019, 2019-05 and 2019-05-01T10:30 are dates as well. A column's name is written in
backticks if it is a word of this language or has other characters than letters, digits and `_`: `` `Größe (cm)` > 3 ``.
A backtick inside the name is doubled.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from ..errors import BadFilter
from ..fields import PATH
from .filters import OPERATORS, And, Compare, Contains, Filter, IsEmpty, Not, OneOf, Or, StartsWith, Under, Value

MAX_LENGTH = 20_000
MAX_DEPTH = 40

_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<date>[0-9]{4}-[0-9]{2}(?:-[0-9]{2}(?:T[0-9:.]{5,18}(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?)?(?![\w.-]))
    |(?P<number>-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][-+]?[0-9]{1,4})?(?![\w.]))
    |(?P<name>(?:[A-Za-z_]|[^\x00-\x7f\s])(?:\w|[^\x00-\x7f\s])*)
    |`(?P<quoted>(?:[^`]|``)+)`
    |(?P<sign>==|!=|<=|>=|<|>|&&|\|\||[!()\[\],=])""",
    re.VERBOSE | re.DOTALL,
)
_SPELLINGS = {"&&": "and", "||": "or", "!": "not"}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\"}


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def parse_filter(text: str, check: Callable[[Filter], object] | None = None) -> Filter:
    """Read a filter.

    Args:
        check: called with each parsed comparison; raises BadFilter if the collection does not support it.

    Raises:
        BadFilter: the text is not a filter. The message gives the position and what was expected there.
    """
    if len(text) > MAX_LENGTH:
        raise BadFilter(f"a filter has at most {MAX_LENGTH:,} characters, not {len(text):,}")
    return _Parser(text, check).parse()


class _Parser:
    """Recursive descent: one method for each kind of phrase. Each method leaves `_next` after its phrase."""

    def __init__(self, text: str, check: Callable[[Filter], object] | None) -> None:
        self._check_filter = check
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0

    def parse(self) -> Filter:
        result = self._either()
        if self._peek().kind != "end":
            self._fail("expected 'and', 'or' or the end")
        return result

    def _either(self) -> Filter:
        operands = [self._both()]
        while self._take("or"):
            operands.append(self._both())
        return Or(tuple(operands)) if len(operands) > 1 else operands[0]

    def _both(self) -> Filter:
        operands = [self._negation()]
        while self._take("and"):
            operands.append(self._negation())
        return And(tuple(operands)) if len(operands) > 1 else operands[0]

    def _negation(self) -> Filter:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"nested deeper than {MAX_DEPTH}")
        if self._take("not"):
            result: Filter = Not(self._negation())
        elif self._take("("):
            result = self._either()
            self._expect(")")
        else:
            result = self._comparison()
        self._depth -= 1
        return result

    def _comparison(self) -> Filter:
        column = self._peek()
        if column.kind not in ("name", "quoted"):
            self._fail("expected a column")
        self._next += 1
        name = column.text
        if column.kind == "name" and not name.isidentifier():
            _fail(column.position, f"a column with such characters is written in backticks: `{_short(name)}`")
        self._check(IsEmpty(name), column)  # every column can be empty: this only fails for an unknown column
        operator = self._peek()
        result = self._operation(name)
        self._check(result, operator)
        return result

    def _operation(self, name: str) -> Filter:
        token = self._peek()
        word = self._word()
        if token.kind == "sign" and word in OPERATORS:
            self._next += 1
            return Compare(name, word, self._value())
        if word == "in":
            self._next += 1
            return OneOf(name, self._values())
        if word in ("not", "!") and self._word(1) == "in":
            self._next += 2
            return Not(OneOf(name, self._values()))
        if word == "is":
            self._next += 1
            negated = self._take("not")
            self._expect("empty")
            return Not(IsEmpty(name)) if negated else IsEmpty(name)
        if word in ("startswith", "contains"):
            self._next += 1
            return (StartsWith if word == "startswith" else Contains)(name, self._text())
        if word == "under":
            if name != PATH:
                self._fail("'under' is for the column path")
            self._next += 1
            return Under(self._text())
        if token.kind == "end" or word in ("and", "or", ")"):
            return Compare(name, "==", True)
        hint = {"=": "; equality is written ==", "like": "; use startswith or contains"}.get(word, "")
        self._fail(f"expected a comparison after '{_short(name)}'{hint}")

    def _values(self) -> tuple[Value, ...]:
        self._expect("[")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._expect("]")
        return tuple(values)

    def _value(self) -> Value:
        token = self._peek()
        if token.kind == "text":
            return self._text()
        word = token.text.lower()
        self._next += 1
        if token.kind == "number":
            return int(word) if word.lstrip("-").isdigit() else float(word)
        if token.kind == "name" and word in ("true", "false"):
            return word == "true"
        if token.kind == "date":
            return token.text
        self._next -= 1
        self._fail("expected a text in quotes, a number, a date, true or false")

    def _text(self) -> str:
        token = self._peek()
        if token.kind != "text":
            self._fail("expected a text in quotes")
        self._next += 1

        def replace(match: re.Match[str]) -> str:
            if match[1] not in _ESCAPES:
                _fail(token.position + match.start() + 1, f"'{match[0]}' is no escape; a backslash is written \\\\")
            return _ESCAPES[match[1]]

        return re.sub(r"\\(.)", replace, token.text[1:-1], flags=re.DOTALL)

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def _word(self, ahead: int = 0) -> str:
        """The text of a name or sign, in lower case, which may be a word of the language; '' for other tokens."""
        token = self._peek(ahead)
        return token.text.lower() if token.kind in ("name", "sign") else ""

    def _take(self, text: str) -> bool:
        word = self._word()
        found = _SPELLINGS.get(word, word) == text
        self._next += found
        return found

    def _expect(self, text: str) -> None:
        if not self._take(text):
            self._fail(f"expected '{text}'")

    def _check(self, comparison: Filter, token: _Token) -> None:
        if self._check_filter is None:
            return
        try:
            self._check_filter(comparison)
        except BadFilter as error:
            _fail(token.position, str(error), error.key or "error_condition", **error.values)

    def _fail(self, message: str) -> NoReturn:
        token = self._peek()
        found = "the filter ends" if token.kind == "end" else f"here is '{_short(token.text)}'"
        _fail(token.position, f"{message}, {found}")


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while True:
        position += len(text[position:]) - len(text[position:].lstrip())
        if position == len(text):
            return [*tokens, _Token("end", "", position)]
        match = _TOKEN.match(text, position)
        if match is None:
            if text[position] in "'\"`":
                _fail(position, "the closing quote is missing")
            _fail(position, f"'{_short(text[position:])}' means nothing here")
        tokens.append(_token(match))
        position = match.end()


def _token(match: re.Match[str]) -> _Token:
    kind = str(match.lastgroup)
    return _Token(kind, match["quoted"].replace("``", "`") if kind == "quoted" else match[0], match.start())


def _short(text: str) -> str:
    shown = "".join(character if character.isprintable() else "�" for character in text[:20])
    return shown + ("…" if len(text) > 20 else "")


def _fail(position: int, message: str, key: str = "error_filter", **values: str) -> NoReturn:
    values = values or {"position": str(position + 1), "reason": message}
    raise BadFilter(f"filter, character {position + 1}: {message}", key, **values)
