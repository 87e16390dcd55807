"""The words of an HTML page as plain text, for people and programs that show no HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SILENT = frozenset(("head", "style", "script", "title", "template"))
_BLOCKS = frozenset(
    ("address", "article", "blockquote", "div", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "ol",
     "p", "section", "table", "tr", "ul")
)  # fmt: skip
_SPACES = re.compile(r"[ \t\r\n\f]+")


def extract_text(html: str) -> str:
    """The words of ``html``, a line for each block, the address of a link behind its words.

    >>> extract_text('<h1>Hi</h1><p>See <a href="https://shop.example">the shop</a>.</p>')
    'Hi\\n\\nSee the shop (https://shop.example).'
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = [line.strip() for line in "".join(reader.pieces).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silent = 0
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A block begins on a line of its own."""
        if tag in _SILENT:
            self._silent += 1
        elif tag == "br":
            self.pieces.append("\n")
        elif tag == "li":
            self.pieces.append("\n- ")
        elif tag in _BLOCKS:
            self.pieces.append("\n\n")
        elif tag == "img":
            self.pieces.append(dict(attrs).get("alt") or "")
        elif tag == "a":
            self._links.append((dict(attrs).get("href") or "", len(self.pieces)))

    def handle_endtag(self, tag: str) -> None:
        """The end of what was begun; a link's address is written when its words do not say it."""
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag in _BLOCKS:
            self.pieces.append("\n\n")
        elif tag == "a" and self._links:
            address, start = self._links.pop()
            words = "".join(self.pieces[start:]).strip()
            if address.startswith(("http://", "https://", "mailto:")) and address != words:
                self.pieces.append(f" ({address})")

    def handle_data(self, data: str) -> None:
        """Words, with the spaces that a browser would show."""
        if not self._silent:
            self.pieces.append(_SPACES.sub(" ", data))
