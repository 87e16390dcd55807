"""Lint: what is wrong with a content, found before anything is sent, on samples as long as they really get."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from aimwell.core.errors import BadInput
from aimwell.core.text import Language, Text, say
from aimwell.deployment.channels.sms import SmsLength, measure_sms
from aimwell.deployment.content.definition import Definition
from aimwell.deployment.content.findings import Finding, make_finding
from aimwell.deployment.content.links import (
    find_addresses,
    find_bare_values,
    find_opening_variables,
    judge_link,
    read_page,
)
from aimwell.deployment.content.parts import CHANNEL_PARTS, LONGEST, PARTS, Part
from aimwell.deployment.content.products import build_block
from aimwell.deployment.content.rendering import Content, RenderError
from aimwell.deployment.content.wording import find_forbidden
from aimwell.deployment.tracking.short import Shorten

SEVERAL_SEGMENTS = 3
GMAIL_CLIPS = 102_400
"""Bytes of HTML."""
_NEARLY = 80_000
_OPT_OUT = ("stop", "退订", "拒收")
_ALWAYS_GIVEN = frozenset(("business", "unsubscribe_url", "valid_until", "preferences_url"))


@dataclass(frozen=True)
class SmsCost:
    """How long the longest SMS of a content gets, and what sending one costs."""

    language: Language
    length: SmsLength
    cost: Decimal | None


def lint_content(
    content: Content, *, forbidden: Sequence[str] = (), shorten: Shorten | None = None
) -> list[Finding]:
    """What is wrong with one content in one language. ``shorten`` makes links as long as an SMS will have them."""
    findings: list[Finding] = []
    for part in PARTS:
        if part in content.templates:
            findings += _lint_names(content, part)
            findings += _lint_rendered(content, part, forbidden, shorten)
    return findings


def lint_definition(definition: Definition, *, shorten: Shorten | None = None) -> list[Finding]:
    """What is wrong with a content that people wrote, in all its languages and variants."""
    found: dict[tuple[Any, ...], Finding] = {}
    for language in definition.languages:
        names: list[str | None] = [variant.name for variant in definition.variants]
        for name in names or [None]:
            content = definition.build(language, variant=name)
            linted = lint_content(content, forbidden=definition.forbidden, shorten=shorten)
            for finding in [*linted, *_lint_parts(content)]:
                found.setdefault((finding.code, finding.place, finding.line, finding.message), finding)
    for name in _list_unused(definition):
        finding = make_finding("unused_variable", f"{definition.content_id}/content.toml", name)
        found[(finding.code, name)] = finding
    return list(found.values())


def measure_content(
    content: Content, unit_cost: Decimal | None = None, *, shorten: Shorten | None = None
) -> SmsCost | None:
    """The longest SMS of the content; None when it has none or it cannot be made."""
    if "sms.txt" not in content.templates:
        return None
    try:
        text = content.render("sms.txt", make_sample(content, longest=True))
    except RenderError:
        return None
    length = measure_sms(shorten(text) if shorten else text)
    return SmsCost(content.language, length, None if unit_cost is None else unit_cost * length.segments)


def check_content(contents: Mapping[Language, Content], *, shorten: Shorten | None = None) -> list[Text]:
    """The warnings of lint; BadInput with the first error, if there is one."""
    return check_findings(
        [finding for content in contents.values() for finding in lint_content(content, shorten=shorten)]
    )


def check_findings(findings: Sequence[Finding]) -> list[Text]:
    """The warnings among ``findings``; BadInput with the first error, if there is one."""
    for finding in findings:
        if finding.severity == "error":
            raise BadInput(
                f"deployment.content_{finding.code}",
                finding.message,
                remedy=say("Correct the template, or remove it."),
                where={"file": finding.place, "line": finding.line},
            )
    return [finding.message for finding in findings]


def make_sample(content: Content, *, longest: bool = False) -> dict[str, Any]:
    """A value for every variable of ``content``."""
    language = content.language
    values: dict[str, Any] = {
        name: variable.show_example(language, longest=longest) for name, variable in content.variables.items()
    }
    names = ["红富士苹果", "鲜牛奶"] if language == "zh" else ["Apples", "Milk"]
    values["recommendations"] = [
        {
            "product_id": str(number),
            "name": name,
            "price": "￥9.90" if language == "zh" else "$9.90",
            "link": f"https://shop.example/p/{number}",
            "image": f"https://shop.example/p/{number}.jpg",
        }
        for number, name in enumerate(names, 1)
    ]
    values["product_block"] = build_block(values["recommendations"], language)
    return values


def count_columns(text: str) -> int:
    """How wide a line is: a Chinese character takes two columns."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _lint_names(content: Content, part: Part) -> Iterator[Finding]:
    for name, whole in content.templates[part].names.items():
        place, line = content.locate_line(part, whole)
        if name not in content.variables:
            yield make_finding("unknown_variable", place, name, line)
        elif (
            name not in _ALWAYS_GIVEN
            and content.variables[name].default is None
            and _needs(content, part, name)
        ):
            yield make_finding("may_be_missing", place, name, line)
    if part == "email.html":
        source = content.sources[part]
        for whole in find_bare_values(source):
            place, line = content.locate_line(part, whole)
            yield make_finding("bare_value", place, "", line)
        for name, whole in find_opening_variables(source):
            if name in content.variables and content.variables[name].kind != "link":
                place, line = content.locate_line(part, whole)
                yield make_finding("open_link", place, name, line)


def _needs(content: Content, part: Part, name: str) -> bool:
    """Whether the part would write ``name`` although there is no value: without condition and without default."""
    values = make_sample(content)
    values[name] = None
    try:
        content.render(part, values)
    except RenderError as error:
        return error.missing == name
    return False


def _lint_rendered(
    content: Content, part: Part, forbidden: Sequence[str], shorten: Shorten | None
) -> Iterator[Finding]:
    place = content.locate(part)
    values = make_sample(content, longest=True)
    try:
        text = content.render(part, values)
    except RenderError as error:
        # A variable that is not known was named already.
        if error.missing is None or error.missing.split(".")[0] in content.variables:
            yield make_finding("cannot_render", *_name_error(content, part, error))
        return
    if not text.strip():
        yield make_finding("empty", place)
    if part in ("email.txt", "email.html") and str(values["unsubscribe_url"]) not in text:
        yield make_finding("no_unsubscribe", place)
    if part == "sms.txt":
        yield from _lint_sms(shorten(text) if shorten else text, place)
    if part in LONGEST and count_columns(text) > LONGEST[part]:
        yield make_finding("long_line", place, str(count_columns(text)))
    yield from _lint_html(text, place) if part == "email.html" else _lint_links(find_addresses(text), place)
    if part == "push_url.txt" and judge_link(text) in ("relative", "broken"):
        yield make_finding("broken_link", place, text[:80])
    for word, whole in find_forbidden(content.sources[part], forbidden):
        place, line = content.locate_line(part, whole)
        yield make_finding("forbidden_word", place, word, line)


def _name_error(content: Content, part: Part, error: RenderError) -> tuple[str, str, int | None]:
    place, line = content.locate_line(part, error.line)
    return place, error.problem, line


def _lint_sms(text: str, place: str) -> Iterator[Finding]:
    if not any(word in text.lower() for word in _OPT_OUT):
        yield make_finding("no_opt_out", place)
    length = measure_sms(text)
    if length.segments >= SEVERAL_SEGMENTS:
        yield make_finding("long_sms", place, str(length.segments))
    # One typographic sign in a text of plain letters, such as a curly apostrophe, halves what fits in.
    signs = {char for char in text if measure_sms(char).encoding == "UCS-2"}
    if length.encoding == "UCS-2" and len(signs) <= 2 and not any(count_columns(char) == 2 for char in signs):
        yield make_finding("one_sign", place, "".join(sorted(signs)))


def _lint_html(html: str, place: str) -> Iterator[Finding]:
    page = read_page(html)
    yield from _lint_links([*page.links, *((address, line) for address, _, line in page.images)], place)
    for address, words, line in page.images:
        if words is None:
            yield make_finding("no_alt", place, address[:80], line)
    for name, line in page.active:
        yield make_finding("active", place, name, line)
    size = len(html.encode("utf-8"))
    if size > _NEARLY:
        code = "too_long_mail" if size > GMAIL_CLIPS else "long_mail"
        yield make_finding(code, place, str(round(size / 1024)))


def _lint_links(links: Sequence[tuple[str, int]], place: str) -> Iterator[Finding]:
    for address, line in links:
        problem = judge_link(address)
        if problem is not None:
            yield make_finding(f"{problem}_link", place, address[:80], line)


def _lint_parts(content: Content) -> Iterator[Finding]:
    """A channel of which there is one part needs the others, too."""
    for channel, parts in CHANNEL_PARTS.items():
        own = [part for part in parts if part != "subject.txt"]
        lacking = [part for part in parts if part not in content.templates]
        # A letter may share the subject with the mail, so that a subject alone asks for neither.
        if lacking and any(part in content.templates for part in own):
            for part in lacking:
                yield make_finding("no_part", content.locate(part), f"{channel}: {part}")


def _list_unused(definition: Definition) -> list[str]:
    used: set[str] = set()
    for language in definition.languages:
        for name in [None, *(variant.name for variant in definition.variants)]:
            for template in definition.build(language, variant=name).templates.values():
                used |= set(template.names)
    return sorted(set(definition.variables) - used)
