"""The variables of templates: the known ones, those that a content declares, and what becomes of their values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import nh3
from liquid import Markup

from aimwell.core.text import Language
from aimwell.deployment.channels.plain_text import extract_text
from aimwell.deployment.content.sandbox import Missing

Kind: TypeAlias = Literal["text", "number", "date", "link", "html", "list", "flag"]
KINDS: tuple[Kind, ...] = ("text", "number", "date", "link", "html", "list", "flag")
Value: TypeAlias = "str | int | float | bool | Sequence[str] | Sequence[Mapping[str, str]] | Both | None"

_MOST_TEXT = 2_000
_MOST_HTML = 50_000
_MOST_ITEMS = 100
# What a name, a city or a reason never holds: control characters, and marks that turn the direction of what follows.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_TAGS = (
    "a", "abbr", "b", "blockquote", "br", "center", "code", "div", "em", "font", "h1", "h2", "h3", "h4", "h5", "h6",
    "hr", "i", "img", "li", "ol", "p", "pre", "s", "small", "span", "strong", "sub", "sup", "table", "tbody", "td",
    "tfoot", "th", "thead", "tr", "u", "ul",
)  # fmt: skip
_ATTRIBUTES = {
    "*": ("style", "align", "valign", "width", "height", "bgcolor", "dir", "lang"),
    "a": ("href", "title"),
    "img": ("src", "alt", "border"),
    "table": ("border", "cellpadding", "cellspacing"),
    "td": ("colspan", "rowspan"),
    "th": ("colspan", "rowspan"),
    "font": ("color", "face", "size"),
}
# None that takes an element out of its place, lays it over others or fetches anything.
_STYLES = (
    "background-color", "border", "border-bottom", "border-collapse", "border-color", "border-left", "border-radius",
    "border-right", "border-top", "color", "display", "font", "font-family", "font-size", "font-style", "font-weight",
    "height", "letter-spacing", "line-height", "margin", "margin-bottom", "margin-left", "margin-right", "margin-top",
    "max-width", "min-width", "padding", "padding-bottom", "padding-left", "padding-right", "padding-top",
    "text-align", "text-decoration", "vertical-align", "white-space", "width",
)  # fmt: skip
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,6})?")


@dataclass(frozen=True)
class Both:
    """A value with two forms: safe HTML, and plain text."""

    html: str
    text: str


@dataclass(frozen=True)
class Variable:
    """One variable. ``source``: ``customers.<column>`` or ``tags.<column>``; empty: whoever sends gives it.

    ``default`` None: a message that would write it without a value is not sent. ``longest``: as long as it really
    gets, for measuring.
    """

    name: str
    kind: Kind = "text"
    default: Mapping[Language, str] | None = None
    example: Mapping[Language, str] | None = None
    longest: Mapping[Language, str] | None = None
    source: str = ""

    def show_example(self, language: Language, *, longest: bool = False) -> Value:
        """A value to try templates with."""
        given = (self.longest if longest else None) or self.example or self.default or {}
        text = given.get(language)
        if text is None or (text == "" and self.kind != "text"):
            text = _PLACEHOLDERS[self.kind]
        return [part.strip() for part in text.split("|")] if self.kind == "list" else text


_PLACEHOLDERS: Mapping[Kind, str] = {
    "text": "Example",
    "number": "1",
    "date": "2030-12-31",
    "link": "https://shop.example/offer",
    "html": "<p>Example</p>",
    "list": "Example",
    "flag": "true",
}


def _both(en: str, zh: str) -> Mapping[Language, str]:
    return {"en": en, "zh": zh}


_LINK = "https://news.shop.example/u/eyJhbGciOiJIUzI1NiJ9.abcdefghijklmnopqrstuvwxyz0123456789"
BUILT_IN: Mapping[str, Variable] = {
    variable.name: variable
    for variable in (
        Variable(
            "customer_name",
            example=_both("Ann", "王小明"),
            longest=_both("Christopher Montgomery", "欧阳修文女士"),
        ),
        Variable("business", default=_both("Aimwell", "准星"), example=_both("Shop", "好邻居超市")),
        Variable("department", default=_both("everything", "全场商品"), example=_both("Produce", "生鲜")),
        Variable("discount_percent", "number", default=_both("0", "0"), example=_both("20", "20")),
        Variable("discount_fold", "number", default=_both("10", "10"), example=_both("8", "8")),
        Variable("products", "list", default=_both("", ""), example=_both("Apples|Milk", "苹果|牛奶")),
        Variable("valid_until", example=_both("31 December 2030", "2030年12月31日")),
        Variable("unsubscribe_url", "link", example=_both(_LINK, _LINK)),
        Variable("preferences_url", "link", example=_both(_LINK, _LINK)),
        Variable("best_hour", example=_both("10:00", "10:00")),
        Variable("reason", example=_both("You often buy produce.", "您经常购买生鲜。")),
        Variable("coupon_code", example=_both("SAMP-LECX-DE34", "SAMP-LECX-DE34")),
        Variable("recommendations", "list", default=_both("", "")),
        Variable("product_block", "html", default=_both("", "")),
    )
}
"""What every template may use."""
VARIABLES: Mapping[str, Variable] = BUILT_IN
PRODUCT_VARIABLES = ("recommendations", "product_block")
"""Those for which a customer's products are looked up."""


def fill(
    variables: Mapping[str, Variable], values: Mapping[str, Any], language: Language, *, html: bool
) -> dict[str, object]:
    """What templates see: every variable with its value, else its default, else ``Missing``.

    A value that is of another kind than declared counts as not there.
    """
    filled: dict[str, object] = {}
    for name, variable in variables.items():
        value = clean_value(variable.kind, values.get(name), html=html)
        if value is None:
            default = (variable.default or {}).get(language)
            value = Missing(name) if default is None else _read_default(variable.kind, default, html=html)
        filled[name] = value
    return filled


def _read_default(kind: Kind, default: str, *, html: bool) -> object:
    if default == "":
        return [] if kind == "list" else ""
    given = [part.strip() for part in default.split("|")] if kind == "list" else default
    found = clean_value(kind, given, html=html)
    return "" if found is None else found


def clean_value(kind: Kind, value: Any, *, html: bool) -> object | None:
    """``value`` as templates may see it (plain, short, no control characters), or None when it is none of ``kind``."""
    if value is None:
        return None
    match kind:
        case "text":
            return _clean_text(value) or None
        case "number":
            return _read_number(value)
        case "date":
            return _read_day(value)
        case "link":
            link = str(value).strip()
            return link if is_web_link(link) else None
        case "html":
            return _choose_form(value, html=html)
        case "list":
            return _clean_list(value)
        case "flag":
            return _read_flag(value)


def is_web_link(link: str) -> bool:
    """Whether ``link`` is an absolute http(s) address without blanks, quotes or a password."""
    if len(link) > 2_000 or not link.isprintable() or any(char in link for char in " \"'<>`\\"):
        return False
    try:
        parts = urlsplit(link)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.password is None
    except ValueError:
        return False


def purify_html(fragment: str) -> str:
    """HTML that people pasted, without all that can act: scripts, handlers, forms, frames, styles that leave it."""
    return _cleaner().clean(fragment[:_MOST_HTML])


@cache
def _cleaner() -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=set(_TAGS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        filter_style_properties=set(_STYLES),
        url_schemes={"http", "https", "mailto", "tel"},
        url_relative="deny",
        clean_content_tags={"script", "style"},
    )


def _clean_text(value: Any) -> str:
    text = str(value)
    if len(text) > _MOST_TEXT or not text.isprintable():
        text = _UNWANTED.sub("", text[: 2 * _MOST_TEXT])[:_MOST_TEXT]
    return text.strip()


def _read_number(value: Any) -> int | float | None:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        value = f"{value:f}".rstrip("0").rstrip(".") if isinstance(value, float | Decimal) else str(value)
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        return None
    return float(text) if "." in text else int(text)


def _read_day(value: Any) -> str | None:
    try:
        return (
            value.isoformat()[:10]
            if isinstance(value, date)
            else date.fromisoformat(str(value)[:10]).isoformat()
        )
    except ValueError:
        return None


def _choose_form(value: Any, *, html: bool) -> object | None:
    if isinstance(value, Both):
        return (Markup(value.html) if html else value.text) or None
    text = str(value)
    return (Markup(purify_html(text)) if html else extract_text(purify_html(text))) or None


def _clean_list(value: Any) -> list[object] | None:
    if not isinstance(value, list | tuple):
        return None
    cleaned: list[object] = []
    for item in value[:_MOST_ITEMS]:
        if isinstance(item, Mapping):
            # What is not there is left out, so that writing it is an error and asking for it is not.
            texts = {str(name): _clean_text(inner) for name, inner in item.items() if inner is not None}
            cleaned.append({name: text for name, text in texts.items() if text})
        elif text := _clean_text(item):
            cleaned.append(text)
    return cleaned or None


def _read_flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    known = {
        "true": True,
        "1": True,
        "yes": True,
        "是": True,
        "false": False,
        "0": False,
        "no": False,
        "否": False,
    }
    return known.get(str(value).strip().lower())
