"""What lint finds: one problem, how grave it is, where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from aimwell.core.text import Text, say

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that lint found. An error stops the launch, a warning does not."""

    code: str
    severity: Severity
    message: Text
    place: str = ""
    """The part, as ``<content>/<language>/<part>``."""
    line: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "code": self.code,
            "severity": self.severity,
            "place": self.place,
            "line": self.line,
            "message": self.message.both(),
        }


ERRORS = frozenset(
    (
        "unknown_variable",
        "cannot_render",
        "empty",
        "no_unsubscribe",
        "no_opt_out",
        "no_part",
        "relative_link",
        "local_link",
        "broken_link",
        "active",
        "bare_value",
        "open_link",
        "too_long_mail",
    )
)
"""Codes of errors; all others are warnings."""


def make_finding(code: str, place: str, detail: str = "", line: int | None = None) -> Finding:
    """The finding ``code`` at ``place``."""
    where = place if line is None else f"{place}:{line}"
    message = say("{place}: {problem}", place=where, problem=_describe(code, detail))
    return Finding(code, "error" if code in ERRORS else "warning", message, place, line)


def _describe(code: str, detail: str) -> Text:
    return _describe_text(code, detail) or _describe_reference(code, detail) or _describe_failure(detail)


def _describe_text(code: str, detail: str) -> Text | None:
    match code:
        case "unknown_variable":
            return say("the variable '{name}' is not known", name=detail)
        case "unused_variable":
            return say("the declared variable '{name}' is used nowhere", name=detail)
        case "may_be_missing":
            return say(
                "nothing is sent to customers without a value for '{name}': give it a default", name=detail
            )
        case "empty":
            return say("the text is empty")
        case "no_part":
            return say("the part '{part}' is missing", part=detail)
        case "no_unsubscribe":
            return say("the unsubscribe link is missing")
        case "no_opt_out":
            return say("the words on how to opt out are missing")
        case "long_sms":
            return say("the SMS takes {segments} segments, each of which costs", segments=detail)
        case "one_sign":
            return say("'{sign}' makes the whole SMS Unicode: 70 characters a segment, not 160", sign=detail)
        case "long_line":
            return say("the line is {columns} columns long and will be cut", columns=detail)
        case "forbidden_word":
            return say("'{word}' may not be claimed in advertising", word=detail)
    return None


def _describe_reference(code: str, detail: str) -> Text | None:
    match code:
        case "relative_link":
            return say("the link '{link}' is not absolute", link=detail)
        case "local_link":
            return say("the link '{link}' leads to this machine or an inner network", link=detail)
        case "broken_link":
            return say("the link '{link}' is broken", link=detail)
        case "unsafe_link":
            return say("the link '{link}' is not encrypted (http)", link=detail)
        case "no_alt":
            return say("the picture '{link}' has no words for those who do not see it (alt)", link=detail)
        case "active":
            return say("'{name}' runs in no mail program and makes filters reject the mail", name=detail)
        case "bare_value":
            return say("a variable stands in an attribute without quotes")
        case "open_link":
            return say("the link begins with '{name}', which is not declared as a link", name=detail)
        case "long_mail":
            return say("the mail has {size} kB of HTML; beyond 102 kB Gmail clips it", size=detail)
        case "too_long_mail":
            return say("the mail has {size} kB of HTML, which is clipped at 102 kB", size=detail)
    return None


def _describe_failure(problem: str) -> Text:
    return say("the text cannot be made: {problem}", problem=problem)
