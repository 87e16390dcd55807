"""Whether a person or a machine opened or clicked, and why we think so; judged anew when later hits say more.

Security scanners open mails and follow every link before the recipient sees them, mail programs fetch pictures
beforehand: counted as people they would make every campaign look alive. What speaks for a machine: the kind of
program, a HEAD request, a click within seconds of sending, two links followed within a second, and a hit of the hidden
link, after which nothing that the same visitor did in that mail counts as a person's. Reads and writes no table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from aimwell.core.text import Text, say
from aimwell.deployment.tracking.agents import MACHINES

Kind = Literal["open", "click", "honeypot"]

SOON_MS = 2_000
"""No person opens a mail and clicks so soon after it was handed over."""
BURST_MS = 1_000
"""No person follows two links of a mail within this time."""
REASONS: dict[str, Text] = {
    "none": say("The program did not say what it is"),
    "program": say("A script asked, not a browser"),
    "scanner": say("A security scanner"),
    "bot": say("A search engine's or monitor's robot"),
    "preview": say("A program that shows previews of links"),
    "privacy_proxy": say("A mail program that fetches pictures beforehand"),
    "image_proxy": say("The mail provider fetched the picture when the mail was shown"),
    "head": say("Only the header was asked for"),
    "too_soon": say("Within seconds of sending"),
    "burst": say("Several links of the mail within a second"),
    "honeypot": say("The hidden link of the mail was followed, too"),
}
"""Why a hit counts as a machine's; ``image_proxy`` is the one that does not."""
KINDS: dict[str, Text] = {
    "open": say("opened"),
    "click": say("clicked"),
    "honeypot": say("hidden link followed"),
}
"""What was done."""


@dataclass(frozen=True)
class Seen:
    """One hit, as far as judging needs it. ``machine`` and ``reason``: what was thought of it until now."""

    hit_id: str
    kind: str
    place: int
    at_ms: int
    visitor: str
    agent: str
    machine: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class Verdict:
    """``reason`` is a code of ``REASONS``, or None."""

    machine: bool
    reason: str | None = None


def classify(kind: str, agent: str, *, method: str = "GET", since_sent_ms: int | None = None) -> Verdict:
    """What one request tells by itself. ``since_sent_ms``: since the mail was handed over; None: that says nothing."""
    if kind == "honeypot":
        return Verdict(True, "honeypot")
    if method == "HEAD":
        return Verdict(True, "head")
    if agent in MACHINES:
        return Verdict(True, agent)
    if kind == "click" and since_sent_ms is not None and since_sent_ms < SOON_MS:
        return Verdict(True, "too_soon")
    return Verdict(False, "image_proxy" if agent == "image_proxy" else None)


def rejudge(hits: Sequence[Seen]) -> Mapping[str, Verdict]:
    """The hits of one delivery whose verdict changes by what the others say; never from a machine's to a person's."""
    changed: dict[str, Verdict] = {}
    by_visitor: dict[str, list[Seen]] = defaultdict(list)
    for hit in hits:
        by_visitor[hit.visitor].append(hit)
    for own in by_visitor.values():
        reason_of = _find_burst(own)
        if any(hit.kind == "honeypot" for hit in own):
            reason_of = {hit.hit_id: "honeypot" for hit in own}
        for hit in own:
            if hit.hit_id in reason_of and not hit.machine:
                changed[hit.hit_id] = Verdict(True, reason_of[hit.hit_id])
    return changed


def _find_burst(hits: Sequence[Seen]) -> dict[str, str]:
    """Clicks on different places that one visitor made within a second of each other."""
    clicks = sorted((hit for hit in hits if hit.kind == "click"), key=lambda hit: hit.at_ms)
    found: dict[str, str] = {}
    first = 0
    for last, hit in enumerate(clicks):
        while hit.at_ms - clicks[first].at_ms > BURST_MS:
            first += 1
        near = clicks[first : last + 1]
        if len({one.place for one in near}) > 1:
            found |= {one.hit_id: "burst" for one in near}
    return found
