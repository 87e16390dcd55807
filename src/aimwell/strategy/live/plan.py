"""What live decisions of a day go by: actions, limits with the last plan's prices, the day's rhythm, exploration, caps.

Writes the store's ``live_plans``, ``live_limits`` and ``live_profiles``; reads the plans back. The plan of a name is
never changed: whoever decides, in whatever process, decides by the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa

from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.core.text import Text, say
from aimwell.core.time import now
from aimwell.engine.ledger_tables import CONTACT_GATE
from aimwell.engine.live_tables import LIVE_LIMITS, LIVE_PLANS, LIVE_PROFILES
from aimwell.engine.permissions import take_turn
from aimwell.engine.store import Store
from aimwell.strategy.inputs import Limit, PlanInputs
from aimwell.strategy.large.instance import Instance
from aimwell.strategy.problem import Integers, Reals, Sense

FEEDBACK = 3.0
"""How much of its own size a price moves per share of what is left by which spending is ahead.

Measured on replayed days (bench.live): from 2 to 8 about the same, below 1 too slow, without 0.4 % worse.
"""
SMALL_PRICE = 0.03
"""A limit that has no price by the plan moves as if its price were this share of profit ÷ use."""
MOST_UNITS = 1 << 40
"""Limits and costs are at most this: sums and products stay exact."""
MOST_EACH = 1 << 20
"""A pair uses at most this of a limit, before its cost."""
NO_CAP = 1 << 30


@dataclass(frozen=True, eq=False)
class LiveLimit:
    """One limit of a day: a chosen pair uses ``table[segment, action]`` of it, times its cost where ``of_cost``.

    Whole numbers all. *At most* is never broken; *at least* is steered towards by its price, and may be missed.
    """

    name: str
    table: Integers
    """Segments × actions."""
    bound: int
    price: float
    """Money per unit, as the last plan found it."""
    gain: float
    """By how much the price moves per share by which spending is ahead of its pace (``kernels``)."""
    sense: Sense = "at_most"
    of_cost: bool = False
    title: str = ""
    """For people, as ``Text.to_json`` writes it; empty: the name."""
    unit: str = ""
    """What a whole number of it is: cents, seconds, offers, contacts."""

    @property
    def sign(self) -> int:
        """+1 for at most, −1 for at least."""
        return 1 if self.sense == "at_most" else -1


@dataclass(frozen=True, eq=False)
class LivePlan:
    """What all live decisions of one business day go by; raises BadInput where it cannot be used."""

    plan_id: str
    day: date
    starts_ms: int
    ends_ms: int
    """The day's beginning and end, ms since 1970 in UTC; nothing is decided outside."""
    actions: tuple[str, ...]
    limits: tuple[LiveLimit, ...]
    salt: str
    """The workspace's: the holdout depends on nothing else."""
    channels: tuple[str | None, ...] = ()
    """The channel of each action, for which consent is needed; None: shown where the customer already is."""
    rhythm: tuple[float, ...] = (0.0, 1.0)
    """Which share of the day's customers has come by the end of each equal slot, from 0 to 1."""
    exploration: float = 0.0
    """Share of the decisions that draw evenly among the near-best actions."""
    near: float = 0.9
    """An action is near the best from this share of its reduced value on, in (0, 1]."""
    cap: int = NO_CAP
    """Contacts of a customer in ``cap_days`` business days, over all plans, live or not."""
    cap_days: int = 1
    holdout: float = 0.0
    hold_ms: int | None = None
    """How long a decision waits to be confirmed before what it reserved is given back; None: for ever."""
    source: str | None = None
    """The plan whose limits and prices these are."""
    action_titles: tuple[str, ...] = ()
    """For people, as ``Text.to_json`` writes them."""
    notices: tuple[str, ...] = ()
    """What is not kept, or not known, in words; as ``Text.to_json`` writes them."""

    def find_channel(self, action: int) -> str | None:
        """The channel of the action at that place; None: shown where the customer already is."""
        return self.channels[action] if self.channels else None

    def __post_init__(self) -> None:
        if not self.actions or len(set(self.actions)) < len(self.actions):
            raise _refuse("actions", say("A live plan needs actions, each of them once."))
        if self.channels and len(self.channels) != len(self.actions):
            raise _refuse("channels", say("Every action needs its channel."))
        if not self.starts_ms < self.ends_ms:
            raise _refuse("ends_ms", say("The day ends before it begins."))
        for name in ("exploration", "holdout"):
            if not 0 <= getattr(self, name) < 1:
                raise _refuse(name, say("'{name}' must be at least 0 and below 1.", name=name))
        if not 0 < self.near <= 1:
            raise _refuse("near", say("'{name}' must be above 0 and at most 1.", name="near"))
        if self.hold_ms is not None and self.hold_ms < 1:
            raise _refuse("hold_ms", say("'{name}' must be at least 1.", name="hold_ms"))
        if self.action_titles and len(self.action_titles) != len(self.actions):
            raise _refuse("action_titles", say("Every action needs its title."))
        if self.cap < 1 or self.cap_days < 1:
            raise _refuse("cap", say("'{name}' must be at least 1.", name="cap"))
        steps = np.diff(np.array(self.rhythm))
        if len(steps) < 1 or self.rhythm[0] != 0 or abs(self.rhythm[-1] - 1) > 1e-9 or np.any(steps < 0):
            raise _refuse("rhythm", say("The day's rhythm must grow from 0 to 1."))
        if len({limit.name for limit in self.limits}) < len(self.limits):
            raise _refuse("limits", say("Two constraints have the same name."))
        if len({limit.table.shape for limit in self.limits}) > 1:
            raise _refuse("limits", say("The tables of all constraints must have the same segments."))
        for limit in self.limits:
            self._check_limit(limit)

    def _check_limit(self, limit: LiveLimit) -> None:
        name, table = limit.name, limit.table
        if table.ndim != 2 or table.shape[1] != len(self.actions) or not len(table):
            raise _refuse(
                name, say("'{name}' does not have one number for each segment and action.", name=name)
            )
        if not np.issubdtype(table.dtype, np.integer) or np.any((table < 0) | (table > MOST_EACH)):
            raise _refuse(name, say("'{name}' must be counted in whole numbers, not too large.", name=name))
        if not 0 <= limit.bound <= MOST_UNITS:
            raise _refuse(name, say("'{name}' must be counted in whole numbers, not too large.", name=name))
        if not all(np.isfinite(x) and x >= 0 for x in (limit.price, limit.gain)):
            raise _refuse(name, say("'{name}' has no usable price.", name=name))

    @property
    def segments(self) -> int:
        """How many segments the limits tell apart; None are told apart without limits."""
        return self.limits[0].table.shape[0] if self.limits else 1

    def to_json(self) -> dict[str, Any]:
        """As the store keeps it."""
        body = {key: value for key, value in vars(self).items() if key not in ("limits", "day")}
        limits = [{**vars(limit), "table": limit.table.tolist()} for limit in self.limits]
        lists = {key: list(value) for key, value in body.items() if isinstance(value, tuple)}
        return {**body, **lists, "day": self.day.isoformat(), "limits": limits}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> LivePlan:
        """As ``to_json`` made it."""
        shape = (-1, len(body["actions"]))
        limits = tuple(
            LiveLimit(**{**limit, "table": np.array(limit["table"], dtype=np.int64).reshape(shape)})
            for limit in body["limits"]
        )
        tuples = {key: tuple(value) for key, value in body.items() if isinstance(value, list)}
        return cls(**{**body, **tuples, "day": date.fromisoformat(body["day"]), "limits": limits})


def open_plan(
    store: Store,
    plan: LivePlan,
    profiles: Iterable[list[dict[str, Any]]] = (),
    *,
    seen_turn: int | None = None,
) -> None:
    """Keep ``plan``, with nothing used of its limits, and its customers' ``profiles`` (rows of ``live_profiles``).

    Nothing happens when it stands already. Raises Conflict when another plan has this name, or when another one was
    opened from the same source since ``seen_turn``: both would spend what was left.
    """
    body = plan.to_json()
    with store.begin() as connection:
        # Also makes the gate where nobody has taken a turn yet: two who made it at once would collide.
        turn = take_turn(connection)
        found = connection.execute(_select_body(plan.plan_id)).scalar_one_or_none()
        if found == body:
            return
        if found is not None:
            raise Conflict(
                "strategy.live_plan_exists",
                say("There is another live plan named '{name}' already.", name=plan.plan_id),
                remedy=say("Choose another name: what is decided by a plan cannot be changed."),
            )
        if seen_turn is not None:
            _check_alone(connection, plan, seen_turn)
        values = {"plan_id": plan.plan_id, "day": plan.day, "body": body}
        connection.execute(sa.insert(LIVE_PLANS), {**values, "opened_at": now(), "opened_turn": turn})
        rows = [
            {
                "plan_id": plan.plan_id,
                "place": place,
                "name": limit.name,
                "sense": limit.sense,
                "bound": limit.bound,
                "used": 0,
            }
            for place, limit in enumerate(plan.limits)
        ]
        if rows:
            connection.execute(sa.insert(LIVE_LIMITS), rows)
        for some in profiles:
            connection.execute(sa.insert(LIVE_PROFILES), some)


def read_turn(store: Store) -> int:
    """The newest turn of the contact gate; 0 where nobody has taken one yet."""
    with store.snapshot() as connection:
        return int(connection.execute(sa.select(CONTACT_GATE.c.turn)).scalar() or 0)


def _check_alone(connection: sa.Connection, plan: LivePlan, seen_turn: int) -> None:
    query = sa.select(LIVE_PLANS.c.body).where(LIVE_PLANS.c.opened_turn > seen_turn)
    for body in connection.execute(query).scalars():
        if plan.source is not None and body.get("source") == plan.source:
            raise Conflict(
                "strategy.live_plan_meanwhile",
                say("Another live day was opened from the same plan at this moment."),
                remedy=say("Open yours again: it gets what is left then."),
            )


def read_plan(store: Store, plan_id: str) -> LivePlan:
    """The plan as it was opened; NotReady when there is none."""
    with store.snapshot() as connection:
        body = connection.execute(_select_body(plan_id)).scalar_one_or_none()
    if body is None:
        raise NotReady(
            "strategy.no_live_plan",
            say("There is no live plan named '{name}'.", name=plan_id),
            remedy=say("Open one for the day first."),
        )
    return LivePlan.from_json(body)


def close_plan(store: Store, plan_id: str) -> bool:
    """Decide nothing by the plan any more; False when it was closed before. NotReady when there is none."""
    read_plan(store, plan_id)
    with store.begin() as connection:
        take_turn(connection)
        still_open = (LIVE_PLANS.c.plan_id == plan_id) & LIVE_PLANS.c.closed_at.is_(None)
        return (
            connection.execute(sa.update(LIVE_PLANS).where(still_open).values(closed_at=now())).rowcount > 0
        )


def take_limits(instance: Instance, prices: Reals, *, profit: float, used: Reals) -> tuple[LiveLimit, ...]:
    """The limits of a large instance with the prices, profit and use that ``large.allocate`` found for it."""
    return tuple(
        LiveLimit(
            row.name,
            _to_units(row.name, row.table),
            int(np.floor(row.limit) if row.sense == "at_most" else np.ceil(row.limit)),
            float(price),
            choose_gain(float(price), profit, float(use)),
            row.sense,
            row.of_cost,
        )
        for row, price, use in zip(instance.rows, prices, used, strict=True)
    )


def take_limit(
    inputs: PlanInputs, limit: Limit, most: float, price: float, *, profit: float, share: float
) -> LiveLimit:
    """``share`` of one limit for the day; ``most`` and ``price`` are in and per unit of its row (cents for money).

    Minutes are counted in seconds. Limits on shares do not come here: they take from some what they give to others,
    which one decision at a time cannot.
    """
    scale = count_scale(limit)
    bound = most * scale * share
    bound = np.floor(bound + 1e-6) if limit.sense == "at_most" else np.ceil(bound - 1e-6)
    own = price / scale
    return LiveLimit(
        limit.limit_id,
        _to_units(limit.limit_id, inputs.build_table(limit) * scale),
        int(bound),
        own,
        choose_gain(own, profit * share, float(bound)),
        limit.sense,
        limit.unit == "money",
        limit.title.to_json(),
        {"money": "cents", "minutes": "seconds"}.get(limit.unit, limit.unit),
    )


def count_scale(limit: Limit) -> int:
    """How many whole units one unit of the limit's row is: minutes are counted in seconds."""
    return 60 if limit.unit == "minutes" else 1


def choose_gain(price: float, profit: float, use: float) -> float:
    """How strongly a price follows the pace, from its own size or, where it has none, from ``profit`` ÷ ``use``."""
    return FEEDBACK * max(price, SMALL_PRICE * max(profit, 0.0) / max(use, 1.0))


def _to_units(name: str, table: Sequence[Any] | Reals) -> Integers:
    rounded = np.rint(np.asarray(table, dtype=np.float64))
    if not np.allclose(rounded, table, rtol=0, atol=1e-6):
        raise _refuse(name, say("'{name}' must be counted in whole numbers, not too large.", name=name))
    return rounded.astype(np.int64)


def _select_body(plan_id: str) -> sa.Select[tuple[Any]]:
    return sa.select(LIVE_PLANS.c.body).where(LIVE_PLANS.c.plan_id == plan_id)


def _refuse(name: str, problem: Text) -> BadInput:
    return BadInput(
        "strategy.bad_live_plan",
        problem,
        remedy=say("Correct the live plan before it is opened."),
        where={"column": name},
    )
