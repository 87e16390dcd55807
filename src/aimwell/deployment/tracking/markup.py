"""The frame of our pages for recipients: plain HTML without scripts, one style sheet whose digest the policy names.

Everything that is put into a page is escaped here. Reads and writes no table.
"""

from __future__ import annotations

import base64
import hashlib
import html
from functools import cache
from importlib.resources import files

from aimwell.core.text import LANGUAGES, Language

LANGUAGE_TAGS: dict[Language, str] = {"en": "en", "zh": "zh-Hans"}
LANGUAGE_NAMES: dict[Language, str] = {"en": "English", "zh": "中文"}


class Html(str):
    """Text that is HTML already; every other text is escaped when it is put into a page."""

    __slots__ = ()


def tag(name: str, /, *content: str, **attributes: str | bool) -> Html:
    """One element; in an attribute's name ``_`` becomes ``-`` and a trailing one goes, ``True``: it has no value."""
    shown = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not False
    )
    if name in ("input", "meta"):
        return Html(f"<{name}{shown}>")
    return Html(f"<{name}{shown}>{join(*content)}</{name}>")


def join(*content: str) -> Html:
    """Several pieces after one another, escaped where they are not HTML yet."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in content))


def build_page(*, title: str, business: str, language: Language, body: Html) -> bytes:
    """A whole page: the business above, the language switch, one card."""
    switch = [
        tag(
            "a",
            LANGUAGE_NAMES[other],
            href=f"?lang={other}",
            lang=LANGUAGE_TAGS[other],
            hreflang=LANGUAGE_TAGS[other],
        )
        for other in LANGUAGES
        if other != language
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="robots", content="noindex"),
        tag("title", f"{title} · {business}"),
        Html(f"<style>{_load_style()}</style>"),
    )
    header = tag("header", tag("span", business, class_="business"), *switch)
    page = tag("html", head, tag("body", header, tag("main", body)), lang=LANGUAGE_TAGS[language])
    return f"<!doctype html>\n{page}\n".encode("utf-8", "replace")


def list_headers(language: Language) -> tuple[tuple[str, str], ...]:
    """The headers of a page: nothing is loaded, nothing is kept, nobody frames it, no address is passed on."""
    policy = (
        f"default-src 'none'; style-src '{_digest_style()}'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    return (
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Language", LANGUAGE_TAGS[language]),
        ("Content-Security-Policy", policy),
        *COMMON_HEADERS,
    )


COMMON_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("X-Robots-Tag", "noindex, nofollow"),
)
"""Of every answer to a link of a message."""


@cache
def _load_style() -> str:
    text = (files("aimwell.deployment.tracking") / "pages.css").read_text(encoding="utf-8")
    return "\n" + text.strip() + "\n"


@cache
def _digest_style() -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_load_style().encode()).digest()).decode()
