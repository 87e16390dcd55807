"""Rules as people type them: ``recency_days > 30 and (orders_90d >= 3 or is_best_20)``. Nothing is ever executed.

The grammar, in which words may be written in any case and full-width signs count as plain ones::

    rule       = conjunction { "or" conjunction }
    conjunction= term { "and" term }
    term       = "not" term | "(" rule ")" | "everybody" | "nobody" | deed | figure sign value
               | "in" "segment" name | comparison | nearest
    deed       = ( "did" [ "not" ] what | "bought" ) { "then" what } [ "without" what ] { option }
    what       = ( text | "bought" | "(" table "where" condition { "and" condition } ")" ) { option }
    option     = whole "times" | "in" whole "days" [ "ending" whole "days" "ago" ] | "within" whole "days"
               | "where" condition | "where" "(" condition { "and" condition } ")"
    figure     = function "(" table [ "." column ] [ "where" condition { "and" condition } ] [ "in" … ] ")"
    function   = "count" | "count_distinct" | "sum" | "average" | "min" | "max" | "days_since_last" | "days_since_first"
    comparison = tag [ sign value | "between" value "and" value | [ "not" ] "in" "(" value { "," value } ")"
                 | "is" [ "not" ] "empty" ]          a tag alone must be true; an attribute is customers.name
    condition  = column sign value
    sign       = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
    value      = number [ "%" ] | 'text' | "true" | "false"
    nearest    = "nearest" "(" whole ",(" ["log"] tag centre scale { "," … } "),(" number { number } { "," … } "))"

The words may be Chinese, set off by blanks: 且 或 非 做过 买过 次 近 天 其中 然后 之内 没有 属于 为空. The older
``event('x') >= 2 in 30 days`` is read as ``did 'x' 2 times in 30 days``.

It reads no table and writes none. ``rule_writing.write_rule`` is the inverse of ``parse_rule``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, cast

from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say
from aimwell.engine.rule import (
    All,
    Any,
    Axis,
    Between,
    Compare,
    InSegment,
    IsEmpty,
    Measured,
    Nearest,
    Not,
    OneOf,
    Rule,
    Sequence,
    Step,
    bought,
    did,
)
from aimwell.engine.specification import (
    FUNCTIONS,
    Aggregate,
    Condition,
    DaysSince,
    Function,
    Operator,
    Value,
    Window,
)

RESERVED = {"and", "or", "not", "in", "between", "is", "empty", "null", "true", "false", "event"}
RESERVED |= {"everybody", "nobody", "did", "bought", "nearest", "log"}
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<text>'(?:[^']|'')*')|(?P<quoted>\"(?:[^\"]|\"\")+\")"
    r"|(?P<sign><>|!=|==|<=|>=|[=<>(),%≥≤≠])|(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)?)"
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
_CHINESE = {
    "且": "and",
    "并且": "and",
    "或": "or",
    "或者": "or",
    "非": "not",
    "不": "not",
    "做过": "did",
    "买过": "bought",
    "次": "times",
    "近": "in",
    "天": "days",
    "其中": "where",
    "然后": "then",
    "之内": "within",
    "没有": "without",
    "属于": "in segment",
    "为空": "is empty",
    "所有人": "everybody",
}
_SINCE = {"days_since_last": "last", "days_since_first": "first"}
_DEEPEST = 50

TokenKind = Literal["number", "text", "quoted", "sign", "name", "end"]


@dataclass(frozen=True)
class _Token:
    kind: TokenKind
    text: str
    position: int

    @property
    def word(self) -> str:
        return self.text.lower() if self.kind in ("name", "sign") else ""


@dataclass
class _Deed:
    """One thing that was done (an event, else a row of ``table``), and the options that were said of it."""

    event: str | None
    table: str | None = None
    conditions: list[Condition] = field(default_factory=list)
    times: int | None = None
    within: int | None = None
    window: Window | None = None
    position: int = 0

    def make_step(self) -> Step:
        """The step of a sequence; purchases are order lines that are no returns."""
        if self.table is not None:
            return Step(self.table, tuple(self.conditions), self.within)
        if self.event is None:
            return Step("order_lines", (Condition("is_return", "=", False), *self.conditions), self.within)
        return Step("events", (Condition("name", "=", self.event), *self.conditions), self.within)

    def make_measure(self) -> Measured:
        """The rule that this alone is."""
        if self.table is not None:
            rows = Aggregate(self.table, "count", None, tuple(self.conditions), self.window)
            return Measured(rows, ">=", self.times or 1)
        days = None if self.window is None else self.window.days
        times, conditions = self.times or 1, tuple(self.conditions)
        event = self.event
        made = bought(times, days, conditions) if event is None else did(event, times, days, conditions)
        if self.window is None or not self.window.ending:
            return made
        of = cast(Aggregate, made.of)
        return Measured(
            Aggregate(of.table, of.function, of.column, of.conditions, self.window), made.operator, made.value
        )


def parse_rule(text: str) -> Rule:
    """The rule that ``text`` says; BadInput names the position (from 1) and what was expected there."""
    plain = _make_plain(text)
    parser = _Parser(_split(plain), plain)
    rule = parser.parse_choice(0)
    parser.expect_end()
    return rule


def _split(plain: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(plain):
        found = _TOKEN.match(plain, position)
        if found is None:
            raise _fail(plain, position, say("a tag, a number, a text in quotes or a sign"))
        if found.lastgroup == "name" and found.group() in _CHINESE:
            tokens += [_Token("name", word, position) for word in _CHINESE[found.group()].split()]
        elif found.lastgroup != "space":
            tokens.append(_Token(cast(TokenKind, found.lastgroup), found.group(), position))
        position = found.end()
    return [*tokens, _Token("end", "", len(plain))]


def _make_plain(text: str) -> str:
    """Full-width signs as plain ones, of the same length, outside of what stands in plain quotes."""
    pieces = re.split(r"('(?:[^']|'')*'|\"[^\"]*\")", text)
    return "".join(piece if index % 2 else piece.translate(_WIDE) for index, piece in enumerate(pieces))


class _Reader:
    """The tokens one after the other, and the small things that they are made of."""

    def __init__(self, tokens: list[_Token], text: str) -> None:
        self._tokens = tokens
        self._text = text
        self._next = 0

    @property
    def _now(self) -> _Token:
        return self._tokens[self._next]

    @property
    def _following(self) -> _Token:
        return self._tokens[min(self._next + 1, len(self._tokens) - 1)]

    def expect_end(self) -> None:
        if self._now.kind != "end":
            raise self._fail_here(say("'and', 'or' or the end"))

    def _parse_name(self) -> str:
        token = self._now
        if token.kind == "quoted":
            return self._step().text[1:-1].replace('""', '"')
        if token.kind == "name" and token.word not in RESERVED:
            return self._step().text
        raise self._fail_here(say("the name of a tag"))

    def _parse_text(self, expected: Text) -> str:
        if self._now.kind not in ("text", "quoted"):
            raise self._fail_here(expected)
        return str(self._parse_value())

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

    def _parse_number(self) -> int | float:
        if self._now.kind != "number":
            raise self._fail_here(say("a number"))
        text = self._step().text
        # A number of 4,301 digits or more would be refused by Python itself.
        number = int(text) if re.fullmatch(r"-?\d{1,18}", text) else float(text)
        return number / 100 if self._take("%") else number

    def _parse_whole(self) -> int:
        if self._now.kind != "number" or not re.fullmatch(r"[0-9]{1,9}", self._now.text):
            raise self._fail_here(say("a whole number"))
        return int(self._step().text)

    def _parse_days(self) -> int:
        days = self._parse_whole()
        if not self._take("day"):
            self._expect("days")
        return days

    def _parse_reach(self) -> Window:
        """What follows "in"."""
        days = self._parse_days()
        if not self._take("ending"):
            return Window(days)
        ending = self._parse_days()
        self._expect("ago")
        return Window(days, ending)

    def _parse_condition(self) -> Condition:
        column = self._parse_name()
        if self._now.word not in _SIGNS:
            raise self._fail_here(say("a sign such as = or >="))
        operator = cast(Operator, _SIGNS[self._step().word])
        return Condition(column, operator, self._parse_value())

    def _parse_conditions(self) -> list[Condition]:
        found = [self._parse_condition()]
        while self._take("and"):
            found.append(self._parse_condition())
        return found

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


class _Parser(_Reader):
    """Recursive descent over the tokens; every method reads what its name says."""

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
        if self._take("in"):
            self._expect("segment")
            return InSegment(self._parse_name())
        return self._parse_fact()

    def _parse_fact(self) -> Rule:
        word, is_call = self._now.word, self._following.word == "("
        if word == "event":
            return self._parse_event()
        if word in ("did", "bought"):
            return self._parse_deeds()
        if word == "nearest" and is_call:
            return self._parse_nearest()
        if is_call and (word in FUNCTIONS or word in _SINCE):
            return self._parse_figure()
        return self._parse_comparison()

    def _parse_event(self) -> Rule:
        self._expect("event")
        self._expect("(")
        name = self._parse_text(say("the event's name in quotes"))
        self._expect(")")
        at_least = self._parse_whole() if self._take(">=") or self._take("≥") else 1
        return did(name, at_least, self._parse_days() if self._take("in") else None)

    def _parse_deeds(self) -> Rule:
        negated = self._take("did") and self._take("not")
        deeds, without = [self._parse_deed()], None
        while self._take("then"):
            deeds.append(self._parse_deed())
        if self._take("without"):
            without = self._parse_deed()
        rule = self._join_deeds(deeds, without)
        return Not(rule) if negated else rule

    def _join_deeds(self, deeds: list[_Deed], without: _Deed | None) -> Rule:
        if len(deeds) == 1 and without is None:
            if deeds[0].within is not None:
                raise _fail(self._text, deeds[0].position, say("'{word}'", word="in"))
            return deeds[0].make_measure()
        every = [*deeds, *([without] if without else [])]
        for deed in every:
            if deed.times is not None:
                raise _fail(self._text, deed.position, say("a step without a number of times"))
        if deeds[0].within is not None:
            raise _fail(self._text, deeds[0].position, say("'{word}'", word="in"))
        windows = [deed.window for deed in every if deed.window is not None]
        if len(windows) > 1:
            raise _fail(self._text, every[-1].position, say("one window only"))
        steps = tuple(deed.make_step() for deed in deeds)
        return Sequence(steps, without.make_step() if without else None, windows[0] if windows else None)

    def _parse_deed(self) -> _Deed:
        position = self._now.position
        deed = _Deed(None, position=position)
        if self._take("("):
            deed.table = self._parse_name()
            self._expect("where")
            deed.conditions = self._parse_conditions()
            self._expect(")")
        elif not self._take("bought"):
            deed.event = self._parse_text(say("the event's name in quotes"))
        while self._parse_option(deed):
            continue
        return deed

    def _parse_option(self, deed: _Deed) -> bool:
        """Whether one more option of ``deed`` was there."""
        if self._now.kind == "number" and deed.times is None:
            if self._now.text.strip("0") == "":
                # "0 times" would hold everybody, and who writes it means nobody who did it.
                raise self._fail_here(say("a number of times from 1 on, or 'not' before the deed"))
            deed.times = self._parse_whole()
            if not self._take("time"):
                self._expect("times")
        elif self._now.word == "in" and self._following.kind == "number" and deed.window is None:
            self._step()
            deed.window = self._parse_reach()
        elif deed.within is None and self._take("within"):
            deed.within = self._parse_days()
        elif not deed.conditions and self._take("where"):
            if self._take("("):
                deed.conditions = self._parse_conditions()
                self._expect(")")
            else:
                deed.conditions = [self._parse_condition()]
        else:
            return False
        return True

    def _parse_figure(self) -> Rule:
        function = self._step().word
        self._expect("(")
        table, _, column = self._parse_name().partition(".")
        conditions = tuple(self._parse_conditions()) if self._take("where") else ()
        of: Aggregate | DaysSince
        if function in _SINCE:
            of = DaysSince(table, "last" if _SINCE[function] == "last" else "first", conditions)
        else:
            window = self._parse_reach() if self._take("in") else None
            of = Aggregate(table, cast(Function, function), column or None, conditions, window)
        self._expect(")")
        if self._now.word not in _SIGNS:
            raise self._fail_here(say("a sign such as = or >="))
        return Measured(of, cast(Operator, _SIGNS[self._step().word]), self._parse_value())

    def _parse_comparison(self) -> Rule:
        tag = self._parse_name()
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

    def _parse_nearest(self) -> Rule:
        self._step()
        self._expect("(")
        which = self._parse_whole()
        self._expect(",")
        self._expect("(")
        axes = [self._parse_axis()]
        while self._take(","):
            axes.append(self._parse_axis())
        for sign in (")", ",", "("):
            self._expect(sign)
        points = [self._parse_point()]
        while self._take(","):
            points.append(self._parse_point())
        self._expect(")")
        self._expect(")")
        return Nearest(tuple(axes), tuple(points), which)

    def _parse_axis(self) -> Axis:
        log = self._take("log")
        tag, centre = self._parse_name(), self._parse_number()
        return Axis(tag, centre, self._parse_number(), log)

    def _parse_point(self) -> tuple[float, ...]:
        numbers = [self._parse_number()]
        while self._now.kind == "number":
            numbers.append(self._parse_number())
        return tuple(numbers)


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
            "An example: recency_days > 30 and did 'Product Viewed' 3 times in 30 days where channel = 'app'."
        ),
        where={"column": position + 1, "value": text[:200]},
    )
