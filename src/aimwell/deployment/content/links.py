"""What an HTML part refers to: links, pictures, and what no mail may hold; with the line where each stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"https?://[^\s<>\"'，。；、（）)】]+")
_FORBIDDEN = frozenset(
    ("script", "iframe", "object", "embed", "form", "input", "button", "base", "frame", "applet")
)
_LOCAL = re.compile(
    r"localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[?::1\]?|10\.\d+\.\d+\.\d+|192\.168\.\d+\.\d+|.*\.(local|internal|test)"
)
# A variable as an attribute's value without quotes: escaping would not keep a blank from beginning a new attribute.
_BARE = re.compile(r"<[a-zA-Z][^<>]*\s[\w-]+\s*=\s*\{[{%]")
_OPENING = re.compile(
    r"(?:href|src|background|action)\s*=\s*[\"']\s*\{\{-?\s*([A-Za-z_]\w*)([^}]*)\}\}", re.IGNORECASE
)


@dataclass
class Page:
    """The references of one HTML text; each with its line."""

    links: list[tuple[str, int]] = field(default_factory=list)
    images: list[tuple[str, str | None, int]] = field(default_factory=list)
    """Address, words for those who see no pictures (None: not given), line."""
    active: list[tuple[str, int]] = field(default_factory=list)
    """Tags and attributes that act, which no mail program runs and filters reject."""


def read_page(html: str) -> Page:
    """What ``html`` refers to."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.page


def find_addresses(text: str) -> list[tuple[str, int]]:
    """The web addresses in a plain text."""
    return [
        (match[0].rstrip(".,;:!?"), text.count("\n", 0, match.start()) + 1)
        for match in _ADDRESS.finditer(text)
    ]


def judge_link(address: str) -> str | None:
    """What is wrong with a link: ``relative``, ``unsafe`` (http), ``local``, ``broken``; None when it is all right."""
    if address.startswith(("mailto:", "tel:", "sms:")):
        return None
    try:
        parts = urlsplit(address)
        host = parts.hostname
        port_is_number = parts.port is None or parts.port > 0
    except ValueError:
        return "broken"
    if not parts.scheme and not address.startswith("//"):
        return "relative"
    if (
        parts.scheme not in ("http", "https")
        or not host
        or not port_is_number
        or re.search(r"[\s<>\"]", address)
    ):
        return "broken"
    if _LOCAL.fullmatch(host):
        return "local"
    if "." not in host:
        return "broken"
    return "unsafe" if parts.scheme == "http" else None


def find_bare_values(source: str) -> list[int]:
    """The lines of a template where a variable is an attribute's value without quotes."""
    return [source.count("\n", 0, match.end()) + 1 for match in _BARE.finditer(source)]


def find_opening_variables(source: str) -> Iterator[tuple[str, int]]:
    """Variables with which an address begins, so that their value decides where it leads."""
    for match in _OPENING.finditer(source):
        yield match[1], source.count("\n", 0, match.start()) + 1


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what refers to something."""
        line, given = self.getpos()[0], dict(attrs)
        if tag in _FORBIDDEN:
            self.page.active.append((tag, line))
        self.page.active += [
            (name, line)
            for name, value in attrs
            if name.startswith("on") or (value or "").strip().lower().startswith(("javascript:", "vbscript:"))
        ]
        if tag in ("a", "area") and given.get("href") is not None:
            self.page.links.append(((given["href"] or "").strip(), line))
        elif tag == "img":
            self.page.images.append(((given.get("src") or "").strip(), given.get("alt"), line))
