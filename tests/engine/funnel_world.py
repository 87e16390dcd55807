"""Random histories, and what a funnel finds in them worked out in plain Python, attempt by attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from aimwell.core.tables import TABLES
from aimwell.engine.funnel import Funnel, Step, match_event
from tests.engine.scratch import Scratch


class ScratchReader(Scratch):
    """A scratch that takes tables as a workspace's reader does."""

    def register(self, name: str, data: pa.Table) -> None:
        self.connection.register(name, data)


DAY = date(2024, 3, 1)
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
END = date(2024, 4, 1)
LETTERS = "abcdx"


@dataclass(frozen=True)
class Happening:
    """One event: who, what, how many minutes after noon; ids in an order of their own."""

    customer: str
    name: str
    minute: int
    number: int

    @property
    def at(self) -> datetime:
        return NOON + timedelta(minutes=self.minute)

    @property
    def event_id(self) -> str:
        return f"e{(self.number * 7919) % 1009:04d}"


@st.composite
def histories(draw: st.DrawFn) -> list[Happening]:
    rows = draw(
        st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from(LETTERS), st.integers(0, 30)), max_size=40)
    )
    return [Happening(who, name, minute, number) for number, (who, name, minute) in enumerate(rows)]


@st.composite
def funnels(draw: st.DrawFn) -> Funnel:
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4))
    window = timedelta(minutes=draw(st.integers(1, 20)))
    barred = (match_event("x"),) if draw(st.booleans()) else ()
    return Funnel(tuple(match_event(name) for name in names), window, END, exclusions=barred)


def build_happenings(rows: list[Happening]) -> pa.Table:
    return TABLES["events"].build(
        [
            {
                "event_id": row.event_id,
                "customer_id": row.customer,
                "name": row.name,
                "occurred_at": row.at,
                "occurred_on": row.at.date(),
                "source": "test",
                "simulated": False,
            }
            for row in rows
        ]
    )


def search_by_hand(rows: list[Happening], funnel: Funnel) -> dict[str, tuple[int, list[datetime]]]:
    """Customer → deepest level, instants of the attempt that got there first, by trying every attempt."""
    found: dict[str, tuple[int, list[datetime]]] = {}
    for customer in {row.customer for row in rows}:
        own = sorted(
            (row for row in rows if row.customer == customer), key=lambda row: (row.at, row.event_id)
        )
        chains = _try_all(own, funnel)
        if chains:
            deepest = max(len(chain) for chain in chains)
            ends = [chain for chain in chains if len(chain) == deepest]
            # The first to get there; of those the shortest way, seen from its end.
            best = min(ends, key=lambda chain: (chain[-1], [-place for place in reversed(chain)]))
            found[customer] = (deepest, [own[place].at for place in best])
    return found


def _try_all(own: list[Happening], funnel: Funnel) -> list[list[int]]:
    names = [_name_of(step) for step in funnel.steps]
    barred = {_name_of(step) for step in funnel.exclusions}
    chains: list[list[int]] = []

    def extend(chain: list[int]) -> None:
        chains.append(chain)
        if len(chain) == len(names):
            return
        for place in range(chain[-1] + 1, len(own)):
            if own[place].name in barred or own[place].at - own[chain[0]].at > funnel.window:
                break
            if own[place].name == names[len(chain)]:
                extend([*chain, place])

    for place, row in enumerate(own):
        if row.name == names[0]:
            extend([place])
    return chains


def _name_of(step: Step) -> Any:
    return step.conditions[0].value
