"""Logs that name what happened by codes, and what Segment's e-commerce vocabulary calls the same acts.

One tag then reads every shop's log. Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.data.scratch import literal

CODES = {
    "taobao": {
        "pv": "Product Viewed",
        "cart": "Product Added",
        "fav": "Product Added to Wishlist",
        "buy": "Order Completed",
    }
}
"""By the name under which a mapping has it: code → Segment's name. Taobao: as Tianchi publishes its log."""


def find_vocabulary(names: Collection[str]) -> str | None:
    """The vocabulary to which all of ``names`` belong, at least two of them or the view; None where there is none."""
    said = {name.casefold() for name in names}
    for vocabulary, codes in CODES.items():
        if said <= set(codes) and (len(said) >= 2 or "pv" in said):
            return vocabulary
    return None


def check_vocabulary(name: str | None) -> None:
    """BadInput when ``name`` is no vocabulary; None is the file's own words."""
    if name is not None and name not in CODES:
        raise BadInput(
            "data.unknown_vocabulary",
            say("'{value}' is no vocabulary of events.", value=name),
            remedy=say(
                "Use --map vocabulary=={names}, or --map vocabulary= to keep the names of the file.",
                names=join_list(CODES),
            ),
            where={"value": name},
        )


def tell_vocabulary(name: str) -> Text:
    """How the codes are read."""
    return say(
        "The events are named by codes and get Segment's names: {pairs}. To keep the codes: --map vocabulary=",
        pairs=join_list(f"{code} → {title}" for code, title in CODES[name].items()),
    )


def translate_codes(text: str, name: str) -> str:
    """The SQL of the name that stands for a code; other names stay."""
    branches = " ".join(f"WHEN {literal(code)} THEN {literal(title)}" for code, title in CODES[name].items())
    return f"CASE lower({text}) {branches} ELSE {text} END"
