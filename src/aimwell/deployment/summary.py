"""The figures of a wave from the ledger: the audience as the sum of its states, reasons, channels, cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from aimwell.core.text import Text, say
from aimwell.deployment.policy import title_reason

Counts = Mapping[tuple[str, str, str | None], tuple[int, int]]
SHOWN_STATES = ("sent", "skipped", "failed", "in_doubt", "queued")
# A lease is still a queue for people; an open intent is not known to have arrived.
_SHOWN_AS = {"leased": "queued", "intent": "in_doubt"}


def title_channel(channel: str) -> Text:
    """The channel for people."""
    titles = {
        "email": say("E-mail"),
        "sms": say("SMS"),
        "push": say("Push"),
        "wechat": say("WeChat"),
        "call": say("Call"),
        "mail": say("Direct mail"),
        "web": say("Web"),
        "ad": say("Advertisement"),
    }
    return titles.get(channel) or say("Channel {channel}", channel=channel)


def summarise(
    counts: Counts, *, plan_id: str, wave: str, audience: int, outbox: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """``counts`` (``Ledger.count_states``) as the step's summary; cost counts what was sent only, in money."""
    states: Counter[str] = Counter()
    for (_, state, _), (rows, _) in counts.items():
        states[_SHOWN_AS.get(state, state)] += rows
    return {
        "plan_id": plan_id,
        "wave": wave,
        "audience": audience,
        "states": {state: states[state] for state in SHOWN_STATES},
        "reasons": _list_reasons(counts),
        "by_channel": [_sum_channel(counts, channel) for channel in sorted({key[0] for key in counts})],
        "outbox": [dict(file) for file in outbox],
        "sums_up": audience == sum(states.values()),
        "cost": sum(cents for (_, state, _), (_, cents) in counts.items() if state == "sent") / 100,
    }


def _list_reasons(counts: Counts) -> list[dict[str, Any]]:
    reasons: Counter[str] = Counter()
    for (_, _, reason), (rows, _) in counts.items():
        if reason is not None:
            reasons[reason] += rows
    return [
        {"code": code, "title": title_reason(code).both(), "customers": rows}
        for code, rows in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]


def _sum_channel(counts: Counts, channel: str) -> dict[str, Any]:
    states: Counter[str] = Counter()
    cents = 0
    for (way, state, _), (rows, cost) in counts.items():
        if way == channel:
            states[_SHOWN_AS.get(state, state)] += rows
            cents += cost if state == "sent" else 0
    return {
        "channel": channel,
        "title": title_channel(channel).both(),
        "planned": sum(states.values()),
        **{state: states[state] for state in SHOWN_STATES},
        "cost": cents / 100,
    }
