"""HTML without surprises: everything that is not ``Html`` is escaped, and a text stands in both languages.

A page shows one language at a time: a ``Both`` becomes two spans, of which the style sheet hides one by
the ``lang`` of the page. Text can so be read, searched and printed even where scripts do not run.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from aimwell.core.text import Text

ZH = "zh-Hans"
_CODE = re.compile(r"`([^`]+)`")
_VOID = frozenset({"meta", "br", "hr", "rect", "circle", "path", "line"})


class Html(str):
    """Markup that is safe to stand in a page as it is."""

    __slots__ = ()


@dataclass(frozen=True)
class Both:
    """One text in both languages; equal texts are written once."""

    en: str
    zh: str

    @property
    def same(self) -> bool:
        """Whether both readers see the same."""
        return self.en == self.zh


Child: TypeAlias = "Html | Both | Text | str | int | None"


def make_both(text: Both | Text | str) -> Both:
    """``text`` in both languages; a plain string is the same in both."""
    if isinstance(text, Text):
        return Both(text.render("en"), text.render("zh"))
    return Both(text, text) if isinstance(text, str) else text


def fill(text: Text, **values: Both) -> Both:
    """A text whose ``{named}`` places take values that themselves differ by language, such as money."""
    return Both(
        text.render("en").format(**{name: value.en for name, value in values.items()}),
        text.render("zh").format(**{name: value.zh for name, value in values.items()}),
    )


def write_child(child: Child) -> Html:
    """One child as markup: ``Html`` as it is, all else escaped, None as nothing."""
    if child is None:
        return Html("")
    if isinstance(child, Html):
        return child
    if isinstance(child, int):
        return Html(str(child))
    if isinstance(child, str):
        return Html(html.escape(child))
    both = make_both(child)
    english, chinese = _mark_code(both.en), _mark_code(both.zh)
    if both.same:
        return Html(english)
    return Html(f'<span lang="en">{english}</span><span lang="{ZH}">{chinese}</span>')


def _mark_code(text: str) -> str:
    """Escaped, with what stands between backticks (a command to type) set as code."""
    return _CODE.sub(r"<code>\1</code>", html.escape(text))


def join(*children: Child) -> Html:
    """The children, one after the other."""
    return Html("".join(write_child(child) for child in children))


def join_all(children: Iterable[Child]) -> Html:
    """The same for any iterable."""
    return join(*children)


def make(element: str, *children: Child, **attributes: Child | bool) -> Html:
    """``<element attribute="…">children</element>``.

    ``class_`` is written ``class``, other underscores as hyphens; None and False are left out. An
    attribute that is a ``Both`` is written in English, with both languages beside it
    (``data-en-title``, ``data-zh-title``) for the script that switches.
    """
    opening = f"<{element}{''.join(_write_attribute(*item) for item in attributes.items())}>"
    if element in _VOID and not children:
        return Html(opening[:-1] + "/>")
    return Html(f"{opening}{join(*children)}</{element}>")


def _write_attribute(name: str, value: Child | bool) -> str:
    name = name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    if isinstance(value, Text):
        value = make_both(value)
    if isinstance(value, Both):
        english, chinese = html.escape(value.en), html.escape(value.zh)
        return f' {name}="{english}" data-en-{name}="{english}" data-zh-{name}="{chinese}"'
    return f' {name}="{html.escape(str(value))}"'


def embed_json(value: Mapping[str, Any]) -> Html:
    """``value`` as a data block that a script reads; nothing in it can end the block or start markup."""
    packed = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for mark in "<>&\u2028\u2029":
        packed = packed.replace(mark, f"\\u{ord(mark):04x}")
    return Html(f'<script type="application/json">{packed}</script>')
