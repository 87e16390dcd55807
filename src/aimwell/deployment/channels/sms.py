"""How long an SMS is: GSM 03.38 or UCS-2, and into how many segments a provider will bill it.

A single segment holds 160 septets or 70 UTF-16 units; in a longer message each holds 153 or 67, because a header
numbers the parts. A character of the extension table takes two septets; neither it nor a surrogate pair is split.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")
_SINGLE = {"GSM-7": 160, "UCS-2": 70}
_PART = {"GSM-7": 153, "UCS-2": 67}


@dataclass(frozen=True)
class SmsLength:
    """``characters`` as people count, ``units`` as the network does (septets or UTF-16 units)."""

    encoding: Literal["GSM-7", "UCS-2"]
    characters: int
    units: int
    segments: int


def measure_sms(text: str) -> SmsLength:
    """The length of ``text``.

    >>> measure_sms("客" * 84).segments, measure_sms("a" * 160).segments, measure_sms("a" * 161).segments
    (2, 1, 2)
    """
    if all(char in _BASIC or char in _EXTENSION for char in text):
        encoding: Literal["GSM-7", "UCS-2"] = "GSM-7"
        sizes = [2 if char in _EXTENSION else 1 for char in text]
    else:
        encoding = "UCS-2"
        sizes = [2 if ord(char) > 0xFFFF else 1 for char in text]
    units = sum(sizes)
    if units <= _SINGLE[encoding]:
        return SmsLength(encoding, len(text), units, 1 if text else 0)
    return SmsLength(encoding, len(text), units, _count_parts(sizes, _PART[encoding]))


def _count_parts(sizes: Iterable[int], room: int) -> int:
    parts, used = 1, 0
    for size in sizes:
        if used + size > room:
            parts, used = parts + 1, 0
        used += size
    return parts
