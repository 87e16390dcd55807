"""The sandbox of templates: Liquid with plain values only, few filters, and limits that end every rendering.

What the library limits by itself (nesting, output, local names, iterations of nested loops) leaves room to hang a
process or to fill its memory: a range is made into a list before its length is looked at, a filter may multiply its
text, loops one after the other are not counted together. So ranges stand in ``for`` only, filters are those in
``_FILTERS`` and refuse texts and lists that are too large, and all loops together spend one allowance of steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from datetime import date
from functools import cache
from io import StringIO
from typing import Any, TextIO

from liquid import BoundTemplate, Environment, Markup, RenderContext, escape
from liquid.ast import Node
from liquid.builtin.expressions import LoopExpression
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.for_tag import ForNode, ForTag
from liquid.exceptions import LiquidError, LiquidSyntaxError
from liquid.expression import Expression
from liquid.stringify import to_liquid_string
from liquid.undefined import Undefined, is_undefined
from liquid.utils import ReadOnlyChainMap

MOST_SOURCE = 300_000
"""Characters of a template."""
MOST_OUTPUT = 1_000_000
"""Characters of what it renders to."""
_MOST_TEXT = 100_000
_MOST_ITEMS = 1_000
_MOST_STEPS = 200_000
_MOST_DIGITS = 256
"""Bits of a whole number."""
_MOST_SECONDS = 5.0
"""Steps end a rendering in far less; this is for what nobody thought of."""

_TAGS = frozenset(
    (
        "#", "assign", "break", "capture", "case", "comment", "content", "continue", "cycle", "doc", "for",
        "if", "illegal", "output", "unless",
    )
)  # fmt: skip
_FILTERS = frozenset(
    (
        "abs", "append", "at_least", "at_most", "capitalize", "ceil", "compact", "concat", "default",
        "divided_by", "downcase", "escape", "first", "floor", "join", "last", "lstrip", "map", "minus",
        "modulo", "newline_to_br", "plus", "prepend", "remove", "remove_first", "replace", "replace_first",
        "reverse", "round", "rstrip", "size", "slice", "sort", "split", "squish", "strip", "strip_newlines",
        "sum", "times", "truncate", "truncatewords", "uniq", "upcase", "url_encode", "where",
    )
)  # fmt: skip
_REPLACING = frozenset(("replace", "replace_first", "remove", "remove_first"))
_OF_MISSING = frozenset(("default", "size", "first", "last", "join", "map", "where"))
"""Filters that may be asked about a value that is not there."""
_DATE_SIGNS = frozenset("YmdBbeAajy%")


class TemplateError(Exception):
    """A template cannot be read or rendered; ``line`` counts from 1."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


class MissingValue(TemplateError):
    """A value that is not there would have been written: better no message than one with a gap."""


class _Nothing(Undefined):
    """Equal to nothing and to the empty text, and false."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is None or (isinstance(other, str | Undefined) and not other)

    __hash__ = Undefined.__hash__


class Missing:
    """A known variable without a value: false and empty in conditions, an error where it would be written."""

    force_liquid_default = True

    def __init__(self, name: str) -> None:
        self.name = name

    def __liquid__(self) -> object:
        return _Nothing(self.name)

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[object]:
        return iter(())


class Template:
    """One parsed template. ``names``: the variables that it reads, each with the line where it does so first."""

    def __init__(self, source: str, *, html: bool) -> None:
        if len(source) > MOST_SOURCE:
            raise TemplateError(f"longer than {MOST_SOURCE} characters")
        self._bound = _parse(source, html=html)
        self.names = _list_names(self._bound, source)

    def render(self, values: Mapping[str, object]) -> str:
        """The text for ``values``; TemplateError when it breaks a limit, MissingValue when a value is not there."""
        context = _Context(self._bound, globals=values)
        buffer = _Buffer(MOST_OUTPUT)
        try:
            for node in self._bound.nodes:
                node.render(context, buffer)
        except MissingValue:
            raise
        except LiquidError as error:
            raise TemplateError(str(error.message), _find_line(error)) from error
        except Exception as error:  # whatever a template provokes is that template's fault
            raise TemplateError(type(error).__name__) from error
        return buffer.getvalue()


class _Buffer(StringIO):
    """Takes so many characters and no more; the library's own encodes every piece to count its bytes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most
        self._take = super().write

    def write(self, text: str, /) -> int:
        self.left -= len(text)
        if self.left < 0:
            raise LiquidError("the text gets too long", token=None)
        return self._take(text)


class _Scope(ReadOnlyChainMap):
    """Names, innermost first; asking is cheaper than the library's trying."""

    def __getitem__(self, key: str) -> object:
        for names in self._maps:
            if key in names:
                return names[key]
        raise KeyError(key)


class _Context(RenderContext):
    """A context with an allowance of steps."""

    __slots__ = ("steps", "until")

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Without the library's clock: a message says the same whenever it is made.
        self.scope = _Scope(self.locals, self.globals)
        self.steps = 0
        self.until = 0.0

    def spend(self, steps: int) -> None:
        """Take ``steps`` from the allowance."""
        self.steps += steps
        if self.steps > _MOST_STEPS:
            raise LiquidError("too much to do", token=None)
        now = time.monotonic()
        self.until = self.until or now + _MOST_SECONDS
        if now > self.until:
            raise LiquidError("takes too long", token=None)

    def get_buffer(self, buf: TextIO | None = None) -> StringIO:
        return _Buffer(buf.left if isinstance(buf, _Buffer) else MOST_OUTPUT)

    def assign(self, key: str, val: Any) -> None:
        self.spend(1 + len(self.locals))
        super().assign(key, val)

    def filter(self, name: str, token: Any) -> Callable[..., object]:
        function = super().filter(name, token)

        def guarded(value: Any, *arguments: Any, **named: Any) -> object:
            if type(value) is Missing and name not in _OF_MISSING:
                raise MissingValue(value.name)
            size = _measure(value)
            for argument in arguments:
                if type(argument) is Missing:
                    raise MissingValue(argument.name)
                size += _measure(argument)
            self.spend(1 + size // 1_000)
            if name in _REPLACING or name == "join":
                value = _check_growth(name, value, arguments)
            result = function(value, *arguments, **named)
            _measure(result)
            return result

        return guarded


class _For(ForNode):
    """A loop that pays for its steps before it takes them."""

    __slots__ = ("weight",)

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        assert isinstance(context, _Context)
        # Only looked at: evaluating the whole expression would move where 'offset: continue' goes on.
        items = self.expression.iterable.evaluate(context)
        if isinstance(items, range) and items.stop - items.start > _MOST_ITEMS:
            raise LiquidError(f"a range of more than {_MOST_ITEMS}", token=self.token)
        if not hasattr(self, "weight"):
            self.weight = _weigh(self.block)
        context.spend(1 + (len(items) if isinstance(items, Sized) else 1) * self.weight)
        return super().render_to_output(context, buffer)


class _ForTag(ForTag):
    node_class = _For


class _Output(OutputNode):
    """Writes a value, unless it is not there."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        value = self.expression.evaluate(context)
        if isinstance(value, str):
            return buffer.write(escape(value) if context.autoescape else value)
        if type(value) is Missing:
            raise MissingValue(value.name, _find_token_line(self.token))
        if is_undefined(value):
            raise MissingValue(str(self.expression), _find_token_line(self.token))
        return buffer.write(to_liquid_string(value, context.autoescape))


class _OutputTag(Output):
    node_class = _Output


class _Sandbox(Environment):
    context_depth_limit = 12
    block_nesting_limit = 20
    loop_iteration_limit = 10_000
    local_namespace_limit = 400_000

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=False)
        self.tags = {name: tag for name, tag in self.tags.items() if name in _TAGS}
        self.filters = {name: call for name, call in self.filters.items() if name in _FILTERS}
        self.add_tag(_ForTag)
        self.add_tag(_OutputTag)
        self.add_filter("date", _show_date)


@cache
def _environment(*, html: bool) -> Environment:
    return _Sandbox(autoescape=html)


def _parse(source: str, *, html: bool) -> BoundTemplate:
    try:
        bound = _environment(html=html).from_string(source)
        _check_ranges(bound.nodes)
    except LiquidError as error:
        raise TemplateError(str(error.message), _find_line(error)) from error
    except RecursionError as error:
        raise TemplateError("nested too deeply") from error
    return bound


def _list_names(bound: BoundTemplate, source: str) -> dict[str, int]:
    try:
        found = bound.analyze(include_partials=False).globals
    except RecursionError as error:
        raise TemplateError("nested too deeply") from error
    return {
        name: source.count("\n", 0, max(0, min(variable.span.index for variable in variables))) + 1
        for name, variables in found.items()
    }


def _check_ranges(nodes: Iterable[Node]) -> None:
    """Ranges stand in ``for`` only: anywhere else the library would write them out, or search them to their end."""
    for node in nodes:
        for expression in node.expressions():
            inner = [expression]
            if isinstance(expression, LoopExpression) and isinstance(expression.iterable, RangeLiteral):
                inner = [child for child in expression.children() if child is not expression.iterable]
                inner += expression.iterable.children()
            if any(_holds_range(part) for part in inner):
                raise LiquidSyntaxError("a range stands in 'for' only", token=node.token)
        _check_ranges(_list_children(node))


def _holds_range(expression: Expression) -> bool:
    return isinstance(expression, RangeLiteral) or any(_holds_range(child) for child in expression.children())


def _weigh(node: Node) -> int:
    """Steps of rendering ``node`` once; a loop inside pays for itself, too."""
    own = sum(_count_parts(expression) for expression in node.expressions())
    return 1 + own + sum(_weigh(child) for child in _list_children(node))


def _count_parts(expression: Expression) -> int:
    return 1 + sum(_count_parts(child) for child in expression.children())


def _list_children(node: Node) -> Iterable[Node]:
    # No tag that is left here looks at the context; only partial templates would.
    return node.children(None, include_partials=False)  # type: ignore[arg-type]


def _measure(value: object) -> int:
    """The size of a value; LiquidError when it is more than a message needs."""
    if isinstance(value, str):
        size, most = len(value), _MOST_TEXT
    elif isinstance(value, list | tuple | dict):
        size, most = len(value), _MOST_ITEMS
    elif isinstance(value, int):
        size, most = value.bit_length(), _MOST_DIGITS
    else:
        size, most = 0, 0
    if isinstance(value, range) or size > most:
        raise LiquidError("too large", token=None)
    return size


def _check_growth(name: str, value: Any, arguments: tuple[Any, ...]) -> Any:
    texts = [str(argument) for argument in arguments]
    if name == "join":
        items = value if isinstance(value, list | tuple) else ()
        separator = texts[0] if texts else " "
        grown = len(items) * len(separator) + sum(len(str(item)) for item in items)
    else:
        # Out of escaped text, what was escaped could be put together again: it becomes plain, and is escaped anew.
        value = value.unescape() if isinstance(value, Markup) else str(value)
        many = name in ("replace", "remove") and texts
        grown = len(value) + (value.count(texts[0]) if many else 1) * len(texts[1] if len(texts) > 1 else "")
    if grown > _MOST_TEXT:
        raise LiquidError("too large", token=None)
    return value


def _show_date(value: object, form: object = "%Y-%m-%d") -> str:
    """A day in the ISO form, written in another one; nothing but days, and no format that the platform may abuse."""
    signs = str(form)
    known = all(part[:1] in _DATE_SIGNS for part in signs.split("%")[1:] if part) and len(signs) <= 50
    try:
        day = value if isinstance(value, date) else date.fromisoformat(str(value)[:10])
    except ValueError as error:
        raise LiquidError("this is no day in the form YYYY-MM-DD", token=None) from error
    if not known:
        raise LiquidError("this form of a day is not known", token=None)
    return day.strftime(signs)


def _find_line(error: LiquidError) -> int | None:
    return _find_token_line(error.token)


def _find_token_line(token: Any) -> int | None:
    if token is None or token.start_index < 0:
        return None
    return int(token.source.count("\n", 0, token.start_index)) + 1
