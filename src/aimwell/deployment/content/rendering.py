"""One content in one language: its parts, parsed once, and rendered for one customer after the other.

A value that is not there takes the variable's default; where there is none, the message is not written at all
(``MissingValue``, a ValueError to callers, closes the delivery as content_error). Reads no table.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from aimwell.core.errors import BadInput
from aimwell.core.text import LANGUAGES, Language, say
from aimwell.deployment.channels.styles import inline_styles
from aimwell.deployment.content.parts import BASIC_PARTS, ONE_LINE, PARTS, Part
from aimwell.deployment.content.sandbox import MissingValue, Template, TemplateError
from aimwell.deployment.content.snippets import Expanded, expand
from aimwell.deployment.content.variables import BUILT_IN, Variable, fill

DEFAULT_CONTENT = "default"


class RenderError(ValueError):
    """A part could not be written for a customer; ``missing`` names the variable that had no value, if that is why."""

    def __init__(
        self, place: str, problem: str, *, line: int | None = None, missing: str | None = None
    ) -> None:
        super().__init__(f"{place}: {problem}")
        self.problem = problem
        self.line = line
        self.missing = missing


class Content:
    """The parts of one content in one language; BadInput when one of them cannot be read.

    ``variables`` are those that the content declares beside the known ones. ``version`` counts the kept versions,
    ``variant`` names the variant whose texts these are, ``own`` the parts that only this variant has. ``snippets`` are
    put in where a part includes them (name → text).
    """

    def __init__(
        self,
        language: Language,
        sources: Mapping[Part, str],
        *,
        variables: Mapping[str, Variable] | None = None,
        content_id: str = DEFAULT_CONTENT,
        version: int = 0,
        variant: str | None = None,
        own: frozenset[str] = frozenset(),
        snippets: Mapping[str, str] | None = None,
    ) -> None:
        self.language = language
        self.variables = {**BUILT_IN, **(variables or {})}
        self.content_id = content_id
        self.version = version
        self.variant = variant
        self._own = own
        self._expanded = {
            part: self._expand(part, source, snippets or {}) for part, source in sources.items()
        }
        self.sources = {part: expanded.text for part, expanded in self._expanded.items()}
        self.templates = {part: self._parse(part, source) for part, source in self.sources.items()}
        self._names = {name for template in self.templates.values() for name in template.names}
        self._read = {
            part: {name: self.variables[name] for name in template.names if name in self.variables}
            for part, template in self.templates.items()
        }

    def render(self, part: Part, values: Mapping[str, Any]) -> str:
        """One part for one customer.

        KeyError when the content has no such part; RenderError (a ValueError) when the template breaks a limit, uses
        a value wrongly, or would write one that is not there.
        """
        template = self.templates[part]
        filled = fill(self._read[part], values, self.language, html=part == "email.html")
        try:
            text = template.render(filled)
        except TemplateError as error:
            missing = error.problem if isinstance(error, MissingValue) else None
            problem = f"no value for {missing}" if missing else error.problem
            raise RenderError(self.locate(part), problem, line=error.line, missing=missing) from error
        if part in ONE_LINE:
            return " ".join(text.split())
        return text if part == "email.html" else text.strip()

    def reads(self, name: str) -> bool:
        """Whether any part reads the variable ``name``."""
        return name in self._names

    def locate(self, part: Part) -> str:
        """Where the part stands, as people know it."""
        folder = f"{self.language}/{self.variant}" if part in self._own else self.language
        return (
            f"{folder}/{part}" if self.content_id == DEFAULT_CONTENT else f"{self.content_id}/{folder}/{part}"
        )

    def locate_line(self, part: Part, line: int | None) -> tuple[str, int | None]:
        """Where a line of the part stands: in its own file, or in that of a snippet."""
        place = self.locate(part)
        snippet, found = self._expanded[part].locate(line)
        return (f"{place.rpartition('/')[0]}/_{snippet}.liquid" if snippet else place), found

    def _expand(self, part: Part, source: str, snippets: Mapping[str, str]) -> Expanded:
        try:
            return expand(self.locate(part), source, snippets)
        except TemplateError as error:
            raise self._refuse(self.locate(part), error.line, error) from error

    def _parse(self, part: Part, source: str) -> Template:
        html = part == "email.html"
        try:
            return Template(inline_styles(source) if html else source, html=html)
        except (TemplateError, ValueError) as error:
            line = error.line if isinstance(error, TemplateError) else None
            raise self._refuse(*self.locate_line(part, line), error) from error

    def _refuse(self, place: str, line: int | None, error: Exception) -> BadInput:
        return BadInput(
            "deployment.template_invalid",
            say("The template {place} cannot be read: {problem}.", place=place, problem=str(error)),
            remedy=say("Correct the template, or remove it."),
            where={"file": place, "line": line},
        )


def load_packaged(language: Language, folder: Path | None = None) -> Content:
    """The content that every workspace has: the files in ``folder/<language>`` before the package's own."""
    sources: dict[Part, str] = {}
    for part in PARTS:
        own = folder / language / part if folder is not None else None
        if own is not None and own.is_file():
            sources[part] = read_template(own)
        elif part in BASIC_PARTS:
            sources[part] = _read_packaged(language, part)
    return Content(language, sources)


def load_all(folder: Path | None = None) -> dict[Language, Content]:
    """The content that every workspace has, in every language."""
    return {language: load_packaged(language, folder) for language in LANGUAGES}


def read_template(path: Path) -> str:
    """The text of a file; BadInput when it is not UTF-8."""
    try:
        # Editors of Windows write a mark and their own ends of lines.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            "deployment.template_encoding",
            say("The template {place} is not UTF-8.", place=path.name),
            remedy=say("Save it as UTF-8."),
            where={"file": str(path)},
        ) from error


def show_fold(discount: float) -> str:
    """A discount as Chinese shops write it: 0.2 off is 8 折, 0.15 is 8.5 折.

    >>> show_fold(0.2), show_fold(0.15)
    ('8', '8.5')
    """
    return f"{round((1 - discount) * 10, 1):g}"


@cache
def _read_packaged(language: Language, part: Part) -> str:
    return (files("aimwell.deployment") / "templates" / language / part).read_text(encoding="utf-8")
