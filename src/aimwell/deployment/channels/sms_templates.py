"""Templates that a provider reviewed: which one a text is, and with what values in its places.

Chinese providers send nothing but a signature, the number of a reviewed template and values for its places. The text
that was composed is matched against the templates: what the customer gets is then word for word what was composed, and
a text that no template makes is refused before anybody is asked. Reads and writes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from aimwell.core.errors import BadInput
from aimwell.core.text import say

_PLACE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]{0,31})\}|\{([0-9]{1,2})\}")
_LINK = re.compile(r"https?:|www\.|[a-z0-9-]+\.(?:com|cn|net|org|top|xyz|io|cc)\b", re.IGNORECASE)
MOST_PLACES = 16


@dataclass(frozen=True)
class SmsTemplate:
    """A template as the provider reviewed it, without signature; places are ``${name}`` or ``{1}``.

    ``most`` is how many characters a value may have; ``links``: whether it may hold an address.
    """

    code: str
    text: str
    most: int = 35
    links: bool = False
    _words: tuple[str, ...] = field(init=False, repr=False)
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        found = list(_PLACE.finditer(self.text))
        names = tuple(one[1] or one[2] for one in found)
        edges = [0, *(edge for one in found for edge in one.span()), len(self.text)]
        words = tuple(self.text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
        if len(set(names)) < len(names) or len(names) > MOST_PLACES or "" in words[1:-1]:
            raise BadInput(
                "deployment.sms_template",
                say("The SMS template {code} cannot be used.", code=self.code),
                remedy=say("Give each place a name of its own, and words between two places."),
                where={"value": self.code},
            )
        object.__setattr__(self, "_words", words)
        object.__setattr__(self, "names", names)

    def match(self, text: str) -> dict[str, str] | None:
        """The values with which this template makes ``text``; None when it does not."""
        if not text.startswith(self._words[0]):
            return None
        values = self._match_rest(text, len(self._words[0]), 0, set())
        return None if values is None else dict(zip(self.names, values, strict=True))

    def _match_rest(self, text: str, start: int, place: int, dead: set[tuple[int, int]]) -> list[str] | None:
        """Values of the places from ``place`` on; ``dead`` remembers from where there are none, so that this ends."""
        if place == len(self.names):
            return [] if start == len(text) else None
        if (start, place) in dead:
            return None
        word = self._words[place + 1]
        for end in range(start + 1, min(start + self.most, len(text)) + 1):
            if text.startswith(word, end) and self._may_stand(text[start:end]):
                rest = self._match_rest(text, end + len(word), place + 1, dead)
                if rest is not None:
                    return [text[start:end], *rest]
        dead.add((start, place))
        return None

    def _may_stand(self, value: str) -> bool:
        if any(char in "【】" or unicodedata.category(char)[0] == "C" for char in value):
            return False
        return bool(value.strip()) and (self.links or _LINK.search(value) is None)


def find_template(
    templates: Sequence[SmsTemplate], signature: str, text: str
) -> tuple[SmsTemplate, dict[str, str]] | None:
    """The first template that makes ``text`` behind ``【signature】``, with its values."""
    body = text.removeprefix(f"【{signature}】")
    for template in templates:
        values = template.match(body)
        if values is not None:
            return template, values
    return None
