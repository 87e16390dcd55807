"""Words for what stands as codes in tables: channels, purposes, sources, segments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from aimwell.core.text import Text, say

if TYPE_CHECKING:
    from aimwell.engine.workspace import Reader

PURPOSES: Mapping[str, Text] = {"marketing": say("marketing"), "service": say("service")}
_SOURCES: Mapping[str, Text] = {"cli": say("command line")}


def name_channel(channel: str) -> str:
    """A channel for people; ``all`` is every channel."""
    from aimwell.data.consent import CHANNEL_TITLES

    return str(say("all channels") if channel == "all" else CHANNEL_TITLES.get(channel, channel))


def name_arm(arm: str) -> str:
    """A drawn arm of a plan for people."""
    names = {"treatment": say("treatment"), "control": say("control"), "holdout": say("holdout")}
    return str(names.get(arm, arm))


def name_purpose(purpose: str) -> str:
    """What a contact is for."""
    return str(PURPOSES.get(purpose, purpose))


def name_source(source: str) -> str:
    """A source as people called it; our own ones in words."""
    return str(_SOURCES.get(source, source))


def read_titles(reader: Reader) -> dict[str, str]:
    """Segment → its title in the reader's language, of the newest analysis."""
    rows = reader.query("SELECT segment, title FROM segments ORDER BY segment").to_pylist()
    return {row["segment"]: str(Text.from_json(row["title"])) for row in rows if row["title"]}
