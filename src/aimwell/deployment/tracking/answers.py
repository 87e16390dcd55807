"""What is answered to a recipient's request, free of any web framework. Reads and writes no table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aimwell.core.text import LANGUAGES, Language, match_language, say
from aimwell.deployment.tracking.hits import Hit
from aimwell.deployment.tracking.markup import COMMON_HEADERS, list_headers
from aimwell.deployment.tracking.pages import Frame, show_problem

Form = Mapping[str, str | Sequence[str]]
"""The fields of a form; a field that came more than once has several values."""
_PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of the answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""


def answer_page(hit: Hit, language: Language, body: bytes, status: int = 200) -> Answer:
    """A page; HEAD gets its headers alone."""
    return Answer(status, list_headers(language), b"" if hit.method == "HEAD" else body)


def answer_redirect(target: str) -> Answer:
    """On to ``target``, which must have come out of ``targets.read_target``."""
    return Answer(302, (("Location", target), *COMMON_HEADERS))


def answer_pixel(hit: Hit, status: int = 200) -> Answer:
    """The picture of one point."""
    headers = (("Content-Type", "image/gif"), *COMMON_HEADERS)
    return Answer(status, headers, b"" if hit.method == "HEAD" else _PIXEL)


def refuse_link(hit: Hit, business: str, language: Language) -> Answer:
    """For every link that we did not sign, or not for this; what is wrong with it is not said."""
    frame = Frame(business, language)
    page = show_problem(
        frame, say("The link is not valid."), say("Open the link of the message itself, whole.")
    )
    return answer_page(hit, language, page, 404)


def refuse_method(allowed: str) -> Answer:
    """For methods that a link does not have."""
    return Answer(405, (("Allow", allowed), *COMMON_HEADERS))


def choose_language(hit: Hit, form: Form, *wishes: str, default: Language) -> Language:
    """The switch on the page, else the first known of ``wishes``, else what the browser asks for."""
    for tag in (hit.query.get("lang", ""), read_field(form, "lang"), *wishes, *_list_accepted(hit)):
        language = match_language(tag)
        if language is not None:
            return language
    return default


def read_field(form: Form, name: str) -> str:
    """One value of a field; empty where there is none."""
    values = read_fields(form, name)
    return values[0] if values else ""


def read_fields(form: Form, name: str) -> list[str]:
    """All values of a field."""
    value = form.get(name, ())
    return [value] if isinstance(value, str) else list(value)


def _list_accepted(hit: Hit) -> list[str]:
    """The languages of Accept-Language, the most wanted first."""
    wanted = []
    for place, part in enumerate(hit.headers.get("accept-language", "")[:500].split(",")):
        tag, _, weight = part.partition(";")
        try:
            share = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            share = 0.0
        if share > 0:
            wanted.append((-share, place, tag.strip()))
    return [tag for _, _, tag in sorted(wanted)]


LANGUAGE_CHOICES: Mapping[str, Language] = {language: language for language in LANGUAGES}
"""What a form may name."""
