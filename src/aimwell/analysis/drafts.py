"""Segments that are proposed, not yet kept: a name, a title, a rule, and why it is worth having.

Three ways make them: ``traditional`` (one per value or bin of an attribute or tag), ``response_tree`` (leaves of a
tree on past behaviour) and ``clusters``. Writes definitions of segments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aimwell.analysis.segments import KIND
from aimwell.core.text import Text
from aimwell.engine.rule import Rule
from aimwell.engine.rule_json import rule_to_json
from aimwell.engine.store import Store


@dataclass(frozen=True)
class Draft:
    """One proposed segment; ``figures`` are what the way that made it knows of it."""

    name: str
    title: Text
    rule: Rule
    size: int
    figures: Mapping[str, Any] = field(default_factory=dict)


def save_drafts(store: Store, drafts: Iterable[Draft]) -> dict[str, int]:
    """Keep them as segments of one's own; returns their versions. The next run of the analysis fills them."""
    return {
        draft.name: store.save_definition(
            KIND, draft.name, {"title_text": draft.title.to_json(), "rule": rule_to_json(draft.rule)}
        )
        for draft in drafts
    }


def name_draft(prefix: str, value: str, taken: set[str]) -> str:
    """A name in code from a value: ASCII letters and digits of it, numbered where none is left or it is taken."""
    plain = re.sub(r"[^a-z0-9]+", "_", f"{prefix}_{value}".lower()).strip("_")[:56]
    name = plain if plain[:1].isalpha() else f"s_{plain}"
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free
