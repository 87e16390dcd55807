"""Message content: sandboxed Liquid templates in Chinese and English, checked before anything is sent.

A workspace may put its own templates into ``templates/<en|zh>/<part>``; what it leaves out comes from the package.
Templates see plain values only (see ``VARIABLES``), load no other file, and stop at fixed limits of loops and
output. HTML is escaped. Reads no table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from liquid import BoundTemplate, Environment
from liquid.exceptions import LiquidError

from aimwell.core.errors import BadInput
from aimwell.core.text import LANGUAGES, Language, Text, say
from aimwell.deployment.channels.sms import measure_sms

Part = Literal["subject.txt", "email.txt", "email.html", "sms.txt", "call.txt", "mail.txt"]
PARTS: tuple[Part, ...] = ("subject.txt", "email.txt", "email.html", "sms.txt", "call.txt", "mail.txt")
Value = str | int | float | list[str]

VARIABLES: dict[str, Value] = {
    "customer_name": "",
    "business": "Aimwell",
    "department": "everything",
    "discount_percent": 0,
    "discount_fold": "10",
    "products": [],
    "valid_until": "2030-12-31",
    "unsubscribe_url": "https://localhost/unsubscribe/sample",
    "best_hour": "",
    "reason": "",
}
"""What a template may use, with its default."""

SEVERAL_SEGMENTS = 3
_OPT_OUT = ("stop", "退订", "拒收")


class _Sandbox(Environment):
    """Liquid with limits; nothing can be included, because there is no loader."""

    context_depth_limit = 10
    loop_iteration_limit = 1_000
    local_namespace_limit = 100_000
    output_stream_limit = 200_000


@dataclass(frozen=True)
class Finding:
    """One thing that lint found. An error stops the launch, a warning does not."""

    code: str
    severity: Literal["error", "warning"]
    message: Text


class Content:
    """The parts of all messages in one language, parsed once."""

    def __init__(self, language: Language, sources: Mapping[Part, str]) -> None:
        self.language = language
        self.sources = dict(sources)
        self._templates = {part: _parse(language, part, source) for part, source in sources.items()}

    def render(self, part: Part, values: Mapping[str, Value]) -> str:
        """One part for one customer; ValueError when the template breaks a limit or uses a value wrongly."""
        try:
            text = self._templates[part].render(**{**VARIABLES, **values})
        except LiquidError as error:
            raise ValueError(f"{self.language}/{part}: {error.message}") from error
        return text.strip() if part != "email.html" else text

    def lint(self) -> list[Finding]:
        """What is wrong with these templates, found on sample values."""
        findings = [finding for part in PARTS for finding in self._lint_names(part)]
        findings += [finding for part in PARTS for finding in self._lint_rendering(part)]
        return findings

    def _lint_names(self, part: Part) -> list[Finding]:
        unknown = sorted(set(self._templates[part].global_variables(include_partials=False)) - set(VARIABLES))
        return [self._find("unknown_variable", "error", part, name) for name in unknown]

    def _lint_rendering(self, part: Part) -> list[Finding]:
        try:
            text = self.render(part, _sample(self.language))
        except ValueError as error:
            return [self._find("cannot_render", "error", part, str(error))]
        findings = []
        if not text.strip():
            findings.append(self._find("empty", "error", part, ""))
        if part in ("email.txt", "email.html") and str(_sample(self.language)["unsubscribe_url"]) not in text:
            findings.append(self._find("no_unsubscribe", "error", part, ""))
        if part == "sms.txt":
            findings += self._lint_sms(text)
        return findings

    def _lint_sms(self, text: str) -> list[Finding]:
        findings = []
        if not any(word in text.lower() for word in _OPT_OUT):
            findings.append(self._find("no_opt_out", "error", "sms.txt", ""))
        length = measure_sms(text)
        if length.segments >= SEVERAL_SEGMENTS:
            findings.append(self._find("long_sms", "warning", "sms.txt", str(length.segments)))
        return findings

    def _find(self, code: str, severity: Literal["error", "warning"], part: Part, detail: str) -> Finding:
        place = f"{self.language}/{part}"
        return Finding(
            code, severity, say("{place}: {problem}", place=place, problem=_describe(code, detail))
        )


def load_content(language: Language, folder: Path | None = None) -> Content:
    """The content in ``language``: the files in ``folder/<language>`` before the package's own."""
    sources: dict[Part, str] = {}
    for part in PARTS:
        own = folder / language / part if folder is not None else None
        sources[part] = (
            _read_own(own) if own is not None and own.is_file() else _read_packaged(language, part)
        )
    return Content(language, sources)


def load_all(folder: Path | None = None) -> dict[Language, Content]:
    """The content in every language."""
    return {language: load_content(language, folder) for language in LANGUAGES}


def check_content(contents: Mapping[Language, Content]) -> list[Text]:
    """The warnings of lint; BadInput with the first error, if there is one."""
    findings = [finding for content in contents.values() for finding in content.lint()]
    for finding in findings:
        if finding.severity == "error":
            raise BadInput(
                f"deployment.content_{finding.code}",
                finding.message,
                remedy=say("Correct the template in the workspace's folder 'templates', or remove it."),
            )
    return [finding.message for finding in findings]


def show_fold(discount: float) -> str:
    """A discount as Chinese shops write it: 0.2 off is 8 折, 0.15 is 8.5 折.

    >>> show_fold(0.2), show_fold(0.15)
    ('8', '8.5')
    """
    return f"{round((1 - discount) * 10, 1):g}"


def _describe(code: str, detail: str) -> Text:
    match code:
        case "unknown_variable":
            return say("the variable '{name}' is not known", name=detail)
        case "empty":
            return say("the text is empty")
        case "no_unsubscribe":
            return say("the unsubscribe link is missing")
        case "no_opt_out":
            return say("the words on how to opt out are missing")
        case "long_sms":
            return say("the SMS takes {segments} segments, each of which costs", segments=detail)
        case _:
            return say("the text cannot be made: {problem}", problem=detail)


def _sample(language: Language) -> dict[str, Value]:
    if language == "zh":
        names: dict[str, Value] = {
            "customer_name": "王小明",
            "department": "生鲜",
            "products": ["苹果", "牛奶"],
        }
    else:
        names = {"customer_name": "Ann", "department": "Produce", "products": ["Apples", "Milk"]}
    return {**VARIABLES, **names, "discount_percent": 20, "discount_fold": "8"}


@cache
def _environment(*, html: bool) -> Environment:
    return _Sandbox(autoescape=html)


def _parse(language: Language, part: Part, source: str) -> BoundTemplate:
    try:
        return _environment(html=part.endswith(".html")).from_string(source)
    except LiquidError as error:
        raise BadInput(
            "deployment.template_invalid",
            say(
                "The template {place} cannot be read: {problem}.",
                place=f"{language}/{part}",
                problem=str(error.message),
            ),
            remedy=say("Correct the template in the workspace's folder 'templates', or remove it."),
            where={"file": f"templates/{language}/{part}"},
        ) from error


def _read_own(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(
            "deployment.template_encoding",
            say("The template {place} is not UTF-8.", place=path.name),
            remedy=say("Save it as UTF-8."),
            where={"file": str(path)},
        ) from error


def _read_packaged(language: Language, part: Part) -> str:
    return (files("aimwell.deployment") / "templates" / language / part).read_text(encoding="utf-8")
