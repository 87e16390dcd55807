"""Texts that several parts share: ``{% include 'footer' %}`` stands for the text of ``_footer.liquid``.

It is put in before the template is read, so that every limit of the sandbox holds for the whole, and a value is escaped
where it comes to stand. A name is one of letters and digits, written out: it is no path, and no value of a customer
chooses what is put in. What includes itself, or is not there, makes the text unusable. Reads no table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.deployment.content.sandbox import MOST_SOURCE, TemplateError

_MOST_INCLUDES = 500
"""Of one text, however deep."""
_FILE = re.compile(r"_([a-z0-9][a-z0-9_-]{0,63})\.liquid")
_INCLUDE = re.compile(r"\{%(-?)\s*include\s*(?:'([^'\n]*)'|\"([^\"\n]*)\")\s*(-?)%\}")
_OTHER = re.compile(r"\{%-?\s*(?:include|render)\b")


@dataclass(frozen=True)
class Expanded:
    """A text with everything put in. ``lines``: of each line the snippet ("": the text itself) and its line there."""

    text: str
    lines: tuple[tuple[str, int], ...]

    def locate(self, line: int | None) -> tuple[str, int | None]:
        """The snippet ("": the text itself) and the line there, of a line of the whole."""
        if line is None or not 0 < line <= len(self.lines):
            return "", line
        return self.lines[line - 1]


def name_snippet(file: str) -> str | None:
    """The snippet's name by that of its file; None when it is none."""
    match = _FILE.fullmatch(file)
    return match[1] if match else None


def list_included(source: str) -> list[str]:
    """The names that a text includes directly."""
    return [match[2] or match[3] or "" for match in _INCLUDE.finditer(source)]


def expand(place: str, source: str, snippets: Mapping[str, str]) -> Expanded:
    """``source`` with its snippets put in; BadInput when one is not there or includes itself.

    TemplateError when it gets too large, or is included in another way than by its name.
    """
    pieces: list[tuple[str, str, int]] = []
    size = count = 0
    for text, name, line in _walk(place, source, snippets, ()):
        pieces.append((text, name, line))
        size, count = size + len(text), count + (name != "")
        if size > MOST_SOURCE or count > _MOST_INCLUDES:
            raise TemplateError(
                f"longer than {MOST_SOURCE} characters, or more than {_MOST_INCLUDES} includes"
            )
    return Expanded("".join(text for text, _, _ in pieces), tuple(_number(pieces)))


def _walk(
    place: str, source: str, snippets: Mapping[str, str], within: tuple[str, ...]
) -> Iterator[tuple[str, str, int]]:
    """Pieces of text in order, each with its snippet and the line on which it begins there."""
    name, last = within[-1] if within else "", 0
    for match in _INCLUDE.finditer(source):
        yield _cut(source, last, match.start(), name)
        wanted = match[2] or match[3] or ""
        _check(place, wanted, snippets, within)
        line = source.count("\n", 0, match.start()) + 1
        # A hyphen takes blanks away on its side, as it does in every tag.
        yield ("{%- # %}" if match[1] else "", name, line)
        yield from _walk(place, snippets[wanted], snippets, (*within, wanted))
        yield ("{% # -%}" if match[4] else "", name, line)
        last = match.end()
    yield _cut(source, last, len(source), name)


def _cut(source: str, start: int, end: int, name: str) -> tuple[str, str, int]:
    text, line = source[start:end], source.count("\n", 0, start) + 1
    other = _OTHER.search(text)
    if other is not None:
        here = line + text.count("\n", 0, other.start())
        raise TemplateError(f"write include with a name in quotes: {{% include 'footer' %}} ({name})", here)
    return text, name, line


def _check(place: str, wanted: str, snippets: Mapping[str, str], within: tuple[str, ...]) -> None:
    if wanted in within:
        circle = [*within[within.index(wanted) :], wanted]
        raise BadInput(
            "deployment.snippet_circle",
            say("{place}: {names} include each other.", place=place, names=" → ".join(circle)),
            remedy=say("Leave one of the includes out."),
            where={"file": place, "value": wanted},
        )
    if wanted not in snippets:
        raise BadInput(
            "deployment.no_snippet",
            say("{place} includes '{name}', which there is not.", place=place, name=wanted[:80]),
            remedy=say(
                "Write it beside the text, or in _shared, as the file _name.liquid of the same language."
            ),
            where={"file": place, "value": wanted[:80]},
        )


def _number(pieces: list[tuple[str, str, int]]) -> list[tuple[str, int]]:
    lines: list[tuple[str, int]] = [("", 1)]
    fresh = True
    for text, name, first in pieces:
        for number, chunk in enumerate(text.split("\n")):
            if number:
                lines.append((name, first + number))
                fresh = True
            # A line belongs to what it begins with.
            if chunk and fresh:
                lines[-1], fresh = (name, first + number), False
    return lines
