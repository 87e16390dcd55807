"""Person-facing text in Chinese and English.

The English sentence is the message id; the Chinese one stands in ``aimwell/locale/zh_Hans/*.po``
(one catalogue per package). A ``Text`` carries the id and its parameters, so that it can be kept in a
table and shown later in the reader's language.
"""

from __future__ import annotations

import json
import os
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Literal, TypeAlias

from babel.messages.pofile import read_po

Language: TypeAlias = Literal["en", "zh"]
Parameter: TypeAlias = "str | int | float | Decimal | Text | None"

LANGUAGES: tuple[Language, ...] = ("en", "zh")
_language: ContextVar[Language | None] = ContextVar("aimwell_language", default=None)


@dataclass(frozen=True)
class Text:
    """One message: an English template with ``{named}`` places and the values for them."""

    id: str
    parameters: tuple[tuple[str, Parameter], ...] = ()

    def render(self, language: Language | None = None) -> str:
        """The message in ``language`` (the current one when omitted)."""
        language = language or current_language()
        template = self.id if language == "en" else _catalogue().get(self.id, self.id)
        values = {name: _render_parameter(value, language) for name, value in self.parameters}
        return template.format(**values) if values else template

    def both(self) -> dict[Language, str]:
        """The message in every language, for a page that switches by itself."""
        return {language: self.render(language) for language in LANGUAGES}

    def to_json(self) -> str:
        """The form in which a message is kept in a table."""
        return json.dumps(_pack(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, packed: str) -> Text:
        """Read back what ``to_json`` wrote."""
        return _unpack(json.loads(packed))

    def __str__(self) -> str:
        return self.render()


def say(message: str, /, **parameters: Parameter) -> Text:
    """A person-facing text. ``message`` must be a literal: the catalogue check reads it from the source."""
    return Text(message, tuple(parameters.items()))


def current_language() -> Language:
    """The reader's language: set by ``set_language``, else from AIMWELL_LANGUAGE, LC_ALL or LANG."""
    chosen = _language.get()
    if chosen is not None:
        return chosen
    for name in ("AIMWELL_LANGUAGE", "LC_ALL", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def match_language(tag: str) -> Language | None:
    """The language of a tag such as ``zh``, ``zh-CN``, ``zh_Hans``, ``en-GB`` (BCP 47: its first part), if any."""
    first = tag.replace("_", "-").split("-", 1)[0].lower()
    return next((language for language in LANGUAGES if language == first), None)


def set_language(language: Language) -> None:
    """Choose the language of this context (a command, a request)."""
    _language.set(language)


def _render_parameter(value: Parameter, language: Language) -> object:
    if isinstance(value, Text):
        return value.render(language)
    # Large counts are grouped for people; years and small numbers need no comma.
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else value


def _pack(text: Text) -> dict[str, object]:
    return {
        "id": text.id,
        "parameters": {
            name: _pack(value)
            if isinstance(value, Text)
            else str(value)
            if isinstance(value, Decimal)
            else value
            for name, value in text.parameters
        },
    }


def _unpack(packed: dict[str, object]) -> Text:
    parameters = packed["parameters"]
    assert isinstance(parameters, dict)
    return Text(
        str(packed["id"]),
        tuple(
            (name, _unpack(value) if isinstance(value, dict) else value) for name, value in parameters.items()
        ),
    )


@cache
def _catalogue() -> dict[str, str]:
    messages: dict[str, str] = {}
    folder = files("aimwell") / "locale" / "zh_Hans"
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".po"):
            with entry.open("rb") as stream:
                for message in read_po(stream, locale="zh_Hans"):
                    if message.id and isinstance(message.id, str) and isinstance(message.string, str):
                        messages[message.id] = message.string or message.id
    return messages
