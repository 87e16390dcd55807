"""The errors that reach people: what was wrong, where, and the remedy, in both languages, with a stable code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from aimwell.core.text import Language, Text


class AimwellError(Exception):
    """The root. ``code`` never changes once released; ``where`` names file, row, column, value."""

    def __init__(
        self,
        code: str,
        message: Text,
        *,
        remedy: Text | None = None,
        where: Mapping[str, str | int | None] | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.remedy = remedy
        self.where = dict(where or {})
        super().__init__(self.render("en"))

    def render(self, language: Language | None = None) -> str:
        """Message and remedy as one paragraph."""
        parts = [self.message.render(language)]
        if self.remedy is not None:
            parts.append(self.remedy.render(language))
        return " ".join(parts)

    def __reduce__(self) -> tuple[Callable[..., AimwellError], tuple[str, Text]]:
        # What fails in another process is told in this one; an exception's own way would hand over the words alone.
        return partial(type(self), remedy=self.remedy, where=self.where), (self.code, self.message)

    def to_dict(self, language: Language | None = None) -> dict[str, object]:
        """For ``--json`` and the HTTP API."""
        return {
            "code": self.code,
            "message": self.message.render(language),
            "remedy": self.remedy.render(language) if self.remedy else None,
            "where": self.where,
        }


class BadInput(AimwellError):
    """A file, value or argument that cannot be used as it is."""


class NotAllowed(AimwellError):
    """The rules (consent, caps, approval, permission) forbid it."""


class NotReady(AimwellError):
    """Something that must come first is missing."""


class Conflict(AimwellError):
    """The state moved on, or what is asked contradicts itself."""


class ContractBroken(AimwellError):
    """A step handed over a table that is not what ``core.tables`` declares: a defect of Aimwell itself."""
