"""Variants of a content (A/B): who sees which is drawn once by salted SHA-256, with a known probability.

A pure function of content, salt and customer: the same customer sees the same variant in every process, and two
contents draw independently. The probability goes into the delivery's ``detail``, so that evaluation can compare.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aimwell.core.errors import BadInput
from aimwell.core.seeds import draw_uniform
from aimwell.core.text import say

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,15}")


@dataclass(frozen=True)
class Variant:
    """One variant and its share of the customers, above 0."""

    name: str
    share: float


@dataclass(frozen=True)
class Choice:
    """Which variant a customer sees, and how likely that was."""

    variant: str
    probability: float


def check_variants(content_id: str, variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """``variants`` with shares that sum to 1; BadInput unless there are none, or two and more with usable names."""
    names = [variant.name for variant in variants]
    total = sum(variant.share for variant in variants)
    usable = all(_NAME.fullmatch(name) for name in names) and len(set(names)) == len(names)
    positive = all(0 < variant.share < 1 for variant in variants)
    if variants and not (len(variants) >= 2 and usable and positive and abs(total - 1) < 1e-6):
        raise BadInput(
            "deployment.bad_variants",
            say(
                "The variants of '{content}' need different short names and shares above 0 that sum to 1.",
                content=content_id,
            ),
            remedy=say("Give for example a with share 0.5 and b with share 0.5."),
            where={"value": content_id},
        )
    return tuple(variants)


def choose_variant(
    content_id: str, salt: str, variants: Sequence[Variant], customer_id: str
) -> Choice | None:
    """The variant of ``customer_id``; None where there are none.

    >>> choose_variant("news", "", (Variant("a", 0.5), Variant("b", 0.5)), "c1")
    Choice(variant='a', probability=0.5)
    """
    if not variants:
        return None
    place = draw_uniform(f"content variant\x1f{content_id}\x1f{salt}", customer_id)
    for variant in variants[:-1]:
        if place < variant.share:
            return Choice(variant.name, variant.share)
        place -= variant.share
    return Choice(variants[-1].name, variants[-1].share)
