"""Rules as people type them: ``recency_days > 30 and (orders_90d >= 3 or is_best_20)``. Nothing is ever executed.

The grammar, in which words may be written in any case and full-width signs count as plain ones::

    rule       = conjunction { "or" conjunction }
    conjunction= term { "and" term }
    term       = "not" term | "(" rule ")" | "everybody" | "nobody" | event | comparison
    event      = "event" "(" text ")" [ ">=" whole ] [ "in" whole "days" ]
    comparison = tag [ sign value | "between" value "and" value | [ "not" ] "in" "(" value { "," value } ")"
                 | "is" [ "not" ] "empty" ]          a tag alone must be true
    sign       = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
    value      = number [ "%" ] | 'text' | "true" | "false"

It reads no table and writes none. ``write_rule`` is the inverse of ``parse_rule``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say
from aimwell.engine.rule import All, Any, Between, Compare, EventRule, IsEmpty, Not, OneOf, Rule
from aimwell.engine.specification import Operator, Value

_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<text>'(?:[^']|'')*')|(?P<quoted>\"(?:[^\"]|\"\")+\")"
    r"|(?P<sign><>|!=|==|<=|>=|[=<>(),%≥≤≠])|(?P<name>[^\W\d]\w*)"
)
_WIDE = str.maketrans("（），＝＜＞％‘’“”", "(),=<>%''\"\"")
_SIGNS = {
    "==": "=",
    "<>": "!=",
    "≥": ">=",
    "≤": "<=",
    "≠": "!=",
    **{sign: sign for sign in ("=", "!=", "<", "<=", ">", ">=")},
}
_RESERVED = {"and", "or", "not", "in", "between", "is", "empty", "null", "true", "false", "event"}
_RESERVED |= {"everybody", "nobody"}
_DEEPEST = 100

TokenKind = Literal["number", "text", "quoted", "sign", "name", "end"]


@dataclass(frozen=True)
class _Token:
    kind: TokenKind
    text: str
    position: int

    @property
    def word(self) -> str:
        return self.text.lower() if self.kind in ("name", "sign") else ""


def parse_rule(text: str) -> Rule:
    """The rule that ``text`` says; BadInput names the position (from 1) and what was expected there."""
    plain = _make_plain(text)
    parser = _Parser(_split(plain), plain)
    rule = parser.parse_choice(0)
    parser.expect_end()
    return rule


def write_rule(rule: Rule) -> str:
    """``rule`` as text that ``parse_rule`` reads back as a rule of the same meaning."""
    match rule:
        case All(rules=()):
            return "everybody"
        case Any(rules=()):
            return "nobody"
        case All(rules=parts):
            return _join(" and ", parts)
        case Any(rules=parts):
            return _join(" or ", parts)
        case Not(rule=IsEmpty(tag=tag)):
            return f"{_write_name(tag)} is not empty"
        case Not(rule=inner):
            return f"not ({write_rule(inner)})"
        case IsEmpty(tag=tag):
            return f"{_write_name(tag)} is empty"
        case Between(tag=tag, low=low, high=high):
            return f"{_write_name(tag)} between {_write_value(low)} and {_write_value(high)}"
        case OneOf(tag=tag, values=values):
            return f"{_write_name(tag)} in ({', '.join(_write_value(value) for value in values)})"
        case Compare(tag=tag, operator=operator, value=value):
            return f"{_write_name(tag)} {operator} {_write_value(value)}"
        case EventRule(name=name, at_least=at_least, days=days):
            reach = "" if days is None else f" in {days} days"
            return f"event({_write_value(name)}) >= {at_least}{reach}"


def _join(word: str, parts: tuple[Rule, ...]) -> str:
    texts = [f"({write_rule(part)})" if isinstance(part, All | Any) else write_rule(part) for part in parts]
    return word.join(texts) if len(texts) > 1 else f"({texts[0]})"


def _write_name(name: str) -> str:
    plain = re.fullmatch(r"[^\W\d]\w*", name) and name.lower() not in _RESERVED
    return name if plain else '"' + name.replace('"', '""') + '"'


def _write_value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def _split(plain: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(plain):
        found = _TOKEN.match(plain, position)
        if found is None:
            raise _fail(plain, position, say("a tag, a number, a text in quotes or a sign"))
        if found.lastgroup != "space":
            tokens.append(_Token(cast(TokenKind, found.lastgroup), found.group(), position))
        position = found.end()
    return [*tokens, _Token("end", "", len(plain))]


def _make_plain(text: str) -> str:
    """Full-width signs as plain ones, of the same length, outside of what stands in plain quotes."""
    pieces = re.split(r"('(?:[^']|'')*'|\"[^\"]*\")", text)
    return "".join(piece if index % 2 else piece.translate(_WIDE) for index, piece in enumerate(pieces))


class _Parser:
    """Recursive descent over the tokens; every method reads what its name says."""

    def __init__(self, tokens: list[_Token], text: str) -> None:
        self._tokens = tokens
        self._text = text
        self._next = 0

    @property
    def _now(self) -> _Token:
        return self._tokens[self._next]

    def expect_end(self) -> None:
        if self._now.kind != "end":
            raise self._fail_here(say("'and', 'or' or the end"))

    def parse_choice(self, depth: int) -> Rule:
        parts = [self._parse_conjunction(depth)]
        while self._take("or"):
            parts.append(self._parse_conjunction(depth))
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _parse_conjunction(self, depth: int) -> Rule:
        parts = [self._parse_term(depth)]
        while self._take("and"):
            parts.append(self._parse_term(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _parse_term(self, depth: int) -> Rule:
        if depth > _DEEPEST:
            raise self._fail_here(say("fewer brackets inside each other"))
        if self._take("not"):
            return Not(self._parse_term(depth + 1))
        if self._take("("):
            rule = self.parse_choice(depth + 1)
            self._expect(")")
            return rule
        if self._take("everybody"):
            return All(())
        if self._take("nobody"):
            return Any(())
        return self._parse_event() if self._now.word == "event" else self._parse_comparison()

    def _parse_event(self) -> Rule:
        self._expect("event")
        self._expect("(")
        name = self._parse_value()
        if not isinstance(name, str):
            raise self._fail_before(say("the event's name in quotes"))
        self._expect(")")
        at_least = self._parse_whole() if self._take(">=") or self._take("≥") else 1
        days = None
        if self._take("in"):
            days = self._parse_whole()
            if not self._take("day"):
                self._expect("days")
        return EventRule(name, at_least, days)

    def _parse_comparison(self) -> Rule:
        tag = self._parse_tag()
        if self._now.word in _SIGNS:
            operator = cast(Operator, _SIGNS[self._step().word])
            return Compare(tag, operator, self._parse_value())
        if self._take("between"):
            low = self._parse_value()
            self._expect("and")
            return Between(tag, low, self._parse_value())
        if self._take("is"):
            negated = self._take("not")
            if not self._take("null"):
                self._expect("empty")
            return Not(IsEmpty(tag)) if negated else IsEmpty(tag)
        if self._take("in"):
            return self._parse_values(tag)
        if self._take("not"):
            self._expect("in")
            return Not(self._parse_values(tag))
        return Compare(tag, "=", True)

    def _parse_values(self, tag: str) -> Rule:
        self._expect("(")
        values: list[Value] = []
        if not self._take(")"):
            values.append(self._parse_value())
            while self._take(","):
                values.append(self._parse_value())
            self._expect(")")
        return OneOf(tag, tuple(values))

    def _parse_tag(self) -> str:
        token = self._now
        if token.kind == "quoted":
            return self._step().text[1:-1].replace('""', '"')
        if token.kind == "name" and token.word not in _RESERVED:
            return self._step().text
        raise self._fail_here(say("the name of a tag"))

    def _parse_value(self) -> Value:
        token = self._now
        if token.kind == "number":
            return self._parse_number()
        if token.kind in ("text", "quoted"):
            mark = token.text[0]
            return self._step().text[1:-1].replace(mark * 2, mark)
        if token.word in ("true", "false"):
            return self._step().word == "true"
        raise self._fail_here(say("a number, a text in quotes, true or false"))

    def _parse_number(self) -> Value:
        text = self._step().text
        number = int(text) if re.fullmatch(r"-?\d+", text) else float(text)
        return number / 100 if self._take("%") else number

    def _parse_whole(self) -> int:
        if self._now.kind != "number" or not self._now.text.isdigit():
            raise self._fail_here(say("a whole number"))
        return int(self._step().text)

    def _step(self) -> _Token:
        token = self._now
        self._next += 1
        return token

    def _take(self, word: str) -> bool:
        if self._now.word != word:
            return False
        self._next += 1
        return True

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise self._fail_here(say("'{word}'", word=word))

    def _fail_here(self, expected: Text) -> BadInput:
        return _fail(self._text, self._now.position, expected)

    def _fail_before(self, expected: Text) -> BadInput:
        return _fail(self._text, self._tokens[self._next - 1].position, expected)


def _fail(text: str, position: int, expected: Text) -> BadInput:
    found = text[position : position + 12].strip()
    return BadInput(
        "analysis.rule_unreadable",
        say(
            "The rule cannot be read at position {position}: expected {expected}, found {found}.",
            position=position + 1,
            expected=expected,
            found=say("'{word}'", word=found) if found else say("the end"),
        ),
        remedy=say(
            "An example: recency_days > 30 and (orders_90d >= 3 or favourite_department = 'GROCERY')."
        ),
        where={"column": position + 1, "value": text[:200]},
    )
