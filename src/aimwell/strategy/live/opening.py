"""Opens a live day from the workspace: the newest plan's limits and shadow prices, and what each customer is worth.

What a day may use of a limit is what the plan has left, spread evenly over the days that it still runs: launched
deliveries and the plan's other live days are taken off. Where nothing was optimised yet but effects are known, the
day's own audience is optimised now, and its prices are taken.

Reads ``plans``, ``constraints``, ``order_lines``, ``events``, ``consents``, ``identities`` and what a plan is made
from (``strategy.step``), and the store's ``deliveries``; writes the store's ``live_plans``, ``live_limits``,
``live_profiles``, ``consent_states`` and ``suppressions``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import sqlalchemy as sa

from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.core.money import to_cents
from aimwell.core.text import Text, say
from aimwell.core.time import find_knowledge_end, zone
from aimwell.engine.carried_records import carry_over
from aimwell.engine.consent import bind_instant, select_consents
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.live_tables import LIVE_LIMITS, LIVE_PLANS
from aimwell.engine.permissions import ConsentState, remember_consents, take_turn
from aimwell.engine.session import Queryable
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace
from aimwell.strategy.basis import read_basis
from aimwell.strategy.inputs import Limit, PlanInputs
from aimwell.strategy.live.plan import LiveLimit, LivePlan, count_scale, open_plan, read_turn, take_limit
from aimwell.strategy.live.profiles import build_profiles
from aimwell.strategy.planner import make_rollout
from aimwell.strategy.step import read_actions, read_inputs

HOLD_SECONDS = 900
"""How long a decision waits to be confirmed, unless told: as long as a visit to a page lasts, or a call."""
SPENT_STATES = ("queued", "leased", "intent", "sent", "in_doubt")
"""Deliveries that have used a plan's limits, or still may."""
OURS = "aimwell"
_RHYTHM_DAYS = 56
_CHUNK = 20_000
SOURCE_SQL = """
SELECT plan_id, as_of, days
FROM plans
WHERE wave = 'rollout' AND method = 'lagrangian' AND ($plan_id = '' OR plan_id = $plan_id)
ORDER BY as_of DESC, round_number DESC, plan_id
LIMIT 1
"""
LIMITS_SQL = """
SELECT constraint_id, title, "limit" AS amount, shadow_price, unit
FROM constraints
WHERE plan_id = $plan_id
ORDER BY constraint_id
"""
PROFIT_SQL = "SELECT SUM(expected_profit) AS profit FROM plan_items WHERE plan_id = $plan_id"
HOURS_SQL = """
SELECT ordered_hour AS hour, COUNT(*) AS lines
FROM order_lines
WHERE ordered_hour IS NOT NULL AND ordered_on < $day
  AND ordered_on >= $since
GROUP BY ordered_hour
"""
NEWEST_SQL = "SELECT MAX(ordered_on) AS day FROM order_lines WHERE ordered_on < $day"
PRIOR_SQL = """
SELECT customer_id, COUNT(*) AS contacts
FROM events
WHERE name = 'Message Sent' AND source <> $ours AND occurred_on > $first AND occurred_on <= $last
GROUP BY customer_id
"""
CONSENTS_SQL = f"""
WITH latest AS (
{select_consents(purpose="marketing", any_refusal=True)}
)
SELECT customer_id, channel, answered, since, until
FROM latest
"""


@dataclass(frozen=True)
class Source:
    """The plan that a live day rests on; ``plan_id`` None: one that was optimised just now."""

    plan_id: str | None
    as_of: date
    days: int
    limits: tuple[Limit, ...]
    prices: tuple[float, ...]
    """Money per unit of each limit, as it is shown to people."""
    profit: float


@dataclass(frozen=True)
class Opened:
    """A day that was opened."""

    plan: LivePlan
    customers: int
    able: int
    """Customers who may get something."""
    share: float
    """Of what the plan had left."""


def open_day(
    workspace: Workspace,
    *,
    day: date,
    name: str | None = None,
    plan_id: str | None = None,
    share: float | None = None,
    budget: Decimal | None = None,
    hold_seconds: int = HOLD_SECONDS,
    solve: bool = False,
) -> Opened:
    """Open ``day`` and return what was opened.

    ``plan_id``: the plan that it rests on (the newest optimised rollout). ``share``: of what the plan has left (one
    over the days that are left of it). ``budget``: of the day, at most what is left. ``solve``: optimise the day's
    audience now and take those prices. Raises NotReady without a plan or effects, Conflict when a day of that name
    stands or the plan's limits are no longer set, BadInput for an unusable argument.
    """
    _check_arguments(share, hold_seconds)
    called = _choose_name(workspace.store, name, day)
    carry_over(workspace, day)
    seen = read_turn(workspace.store)
    with workspace.read() as reader:
        actions = read_actions(reader)
        if not actions:
            raise _refuse_nothing()
        raw = read_inputs(reader, workspace.settings, actions, as_of=day, plan_id=called, days=1)
        inputs = read_basis(reader, workspace.settings, raw).inputs
        if not inputs.has_effects:
            raise _refuse_nothing()
        source = None if solve else _read_source(reader, workspace, inputs, plan_id)
        found = source or _solve(inputs, day)
        then = replace(inputs, limits=found.limits)
        spent = _measure_spent(workspace.store, then, found, day)
        part = share if share is not None else 1.0 / _count_days_left(found, day)
        limits = _share_out(then, found, spent, part, budget)
        rhythm = read_rhythm(reader, day)
        prior = _read_prior(reader, day, workspace.settings.contact.cap_days)
        consents = _read_consents(reader, day, workspace.settings.business.zone)
    notices = _list_notices(inputs, found, day, launched=any(spent.values()))
    plan = _make_plan(workspace, called, day, then, found, limits, rhythm, hold_seconds, notices)
    _keep_consents(workspace.store, consents)
    open_plan(workspace.store, plan, build_profiles(called, then, prior), seen_turn=seen)
    workspace.store.audit("live.opened", called, {"source": found.plan_id, "share": part})
    able = int((inputs.eligible & inputs.known).any(axis=1).sum())
    return Opened(plan, len(inputs.customers), able, part)


def read_rhythm(queryable: Queryable, day: date) -> tuple[float, ...]:
    """Which share of a usual day's orders has come by the end of each hour; evenly where no hour is known."""
    newest = queryable.query(NEWEST_SQL, {"day": day})["day"][0].as_py()
    lines = np.zeros(24)
    if newest is not None:
        last = newest.date() if isinstance(newest, datetime) else newest
        window = {"day": day, "since": last - timedelta(days=_RHYTHM_DAYS - 1)}
        for row in queryable.query(HOURS_SQL, window).to_pylist():
            lines[int(row["hour"]) % 24] = row["lines"]
    if not lines.sum():
        return (0.0, 1.0)
    # An hour without any order is no hour in which nobody comes.
    smooth = (lines + 0.01 * lines.sum() / 24) / (1.01 * lines.sum())
    total = np.concatenate([[0.0], np.cumsum(smooth)])
    return tuple((total / total[-1]).tolist())


def _read_source(
    reader: Queryable, workspace: Workspace, inputs: PlanInputs, plan_id: str | None
) -> Source | None:
    rows = reader.query(SOURCE_SQL, {"plan_id": plan_id or ""}).to_pylist()
    if not rows:
        if plan_id is not None:
            raise NotReady(
                "strategy.no_optimised_plan",
                say("There is no optimised rollout '{plan}'.", plan=plan_id),
                remedy=say("Make one with: aimwell strategy plan"),
                where={"table": "plans", "value": plan_id},
            )
        return None
    name, as_of, days = rows[0]["plan_id"], rows[0]["as_of"], int(rows[0]["days"])
    then = read_inputs(reader, workspace.settings, inputs.actions, as_of=as_of, plan_id=name, days=days)
    kept = {row["constraint_id"]: row for row in reader.query(LIMITS_SQL, {"plan_id": name}).to_pylist()}
    gone = sorted(set(kept) - {limit.limit_id for limit in then.limits})
    if gone:
        raise Conflict(
            "strategy.limits_changed",
            say(
                "The plan {plan} has limits that are not set any more: {names}.",
                plan=name,
                names=", ".join(gone),
            ),
            remedy=say("Make a new plan, or open the day with --solve."),
            where={"table": "constraints", "value": name},
        )
    limits, prices = [], []
    for limit in then.limits:
        row = kept.get(limit.limit_id)
        limits.append(limit if row is None else replace(limit, limit=float(row["amount"])))
        prices.append(0.0 if row is None else float(row["shadow_price"]))
    profit = reader.query(PROFIT_SQL, {"plan_id": name})["profit"][0].as_py()
    return Source(name, as_of, days, tuple(limits), tuple(prices), float(profit or 0.0))


def _solve(inputs: PlanInputs, day: date) -> Source:
    result = make_rollout(inputs)
    prices = tuple(use.shadow_price for use in result.uses)
    return Source(None, day, 1, inputs.limits, prices, result.objective)


def _measure_spent(store: Store, inputs: PlanInputs, source: Source, day: date) -> dict[str, float]:
    """What launched deliveries of the source and its other live days have used of each limit, in its row's unit."""
    spent = dict.fromkeys((limit.limit_id for limit in inputs.limits), 0.0)
    if source.plan_id is None:
        return spent
    customer = {name: place for place, name in enumerate(inputs.customers)}
    action = {item.action_id: place for place, item in enumerate(inputs.actions)}
    columns = (DELIVERIES.c.customer_id, DELIVERIES.c.action_id)
    ours = (DELIVERIES.c.plan_id == source.plan_id) & DELIVERIES.c.state.in_(SPENT_STATES)
    with store.snapshot() as connection:
        sent = connection.execute(sa.select(*columns).where(ours)).all()
        live = connection.execute(
            sa.select(LIVE_PLANS.c.body, LIVE_PLANS.c.day, LIVE_PLANS.c.closed_at, LIVE_LIMITS).join(
                LIVE_LIMITS, LIVE_LIMITS.c.plan_id == LIVE_PLANS.c.plan_id
            )
        ).all()
    pairs = [
        (customer.get(row.customer_id, -1), action[row.action_id]) for row in sent if row.action_id in action
    ]
    for limit in inputs.build_rows():
        # Whoever is known no longer has used at most what anybody would.
        most = limit.usage.max(axis=0, initial=0.0)
        spent[limit.name] += sum(float(limit.usage[c, a] if c >= 0 else most[a]) for c, a in pairs)
    for row in live:
        if row.body.get("source") == source.plan_id and row.name in spent:
            over = row.closed_at is not None or row.day < day
            scale = 60.0 if row.body["limits"][row.place].get("unit") == "seconds" else 1.0
            spent[row.name] += (row.used if over or row.sense == "at_least" else row.bound) / scale
    return spent


def _count_days_left(source: Source, day: date) -> int:
    """Days of the plan from ``day`` on; all of them where the day lies outside."""
    passed = (day - source.as_of).days
    return source.days - passed if 0 <= passed < source.days else max(1, source.days)


def _share_out(
    inputs: PlanInputs, source: Source, spent: Mapping[str, float], share: float, budget: Decimal | None
) -> tuple[LiveLimit, ...]:
    limits = []
    for limit, price in zip(source.limits, source.prices, strict=True):
        if limit.unit == "percent":
            continue
        cents = 100.0 if limit.unit == "money" else 1.0
        most = float(to_cents(limit.limit)) if limit.unit == "money" else limit.limit
        left = max(0.0, most - spent[limit.limit_id])
        part = share
        if limit.limit_id == "budget" and budget is not None:
            asked = float(to_cents(budget))
            if asked > left:
                raise BadInput(
                    "strategy.live_budget_too_large",
                    say("Of the plan's budget only {left} are left.", left=f"{left / 100:,.2f}"),
                    remedy=say("Give the day less, or make a plan with a larger budget."),
                    where={"column": "budget", "value": str(budget)},
                )
            part = asked / left if left else 0.0
        elif limit.sense == "at_most" and left:
            # A whole one more than its share, never more than is left: else a stock of 20 would wait for the last days.
            whole = left * count_scale(limit)
            part = min(1.0, float(np.ceil(whole * share - 1e-9)) / whole)
        limits.append(take_limit(inputs, limit, left, price / cents, profit=source.profit, share=part))
    return tuple(limits)


def _make_plan(
    workspace: Workspace,
    name: str,
    day: date,
    inputs: PlanInputs,
    source: Source,
    limits: tuple[LiveLimit, ...],
    rhythm: tuple[float, ...],
    hold_seconds: int,
    notices: Sequence[Text],
) -> LivePlan:
    settings = workspace.settings
    starts, ends = (
        _count_ms(datetime.combine(on, time(), zone(settings.business.zone)).astimezone(UTC))
        for on in (day, day + timedelta(days=1))
    )
    return LivePlan(
        name,
        day,
        starts,
        ends,
        tuple(action.action_id for action in inputs.actions),
        limits,
        inputs.salt,
        channels=tuple(action.channel for action in inputs.actions),
        rhythm=rhythm,
        exploration=inputs.shares.exploration,
        cap=settings.contact.cap,
        cap_days=settings.contact.cap_days,
        holdout=inputs.shares.holdout,
        hold_ms=hold_seconds * 1000,
        source=source.plan_id,
        action_titles=tuple(action.title.to_json() for action in inputs.actions),
        notices=tuple(text.to_json() for text in notices),
    )


def _list_notices(inputs: PlanInputs, source: Source, day: date, *, launched: bool) -> list[Text]:
    """What the day does not keep as the plan did, or rests on less firmly."""
    told = []
    end = source.as_of + timedelta(days=source.days)
    if source.plan_id is None:
        told.append(say("The prices were optimised now, for all customers of the day's audience."))
    elif not source.as_of <= day < end:
        told.append(
            say(
                "The day lies outside the plan's window ({start} to before {end}): its prices may be out of date.",
                start=source.as_of.isoformat(),
                end=end.isoformat(),
            )
        )
    if source.plan_id is not None and not launched:
        told.append(
            say(
                "The plan {plan} was not launched: launched as well, it would spend its limits a second time.",
                plan=source.plan_id,
            )
        )
    for limit in source.limits:
        if limit.unit == "percent":
            told.append(
                say(
                    "Not kept live, since it is a share of all who are contacted: {limit}.", limit=limit.title
                )
            )
        elif limit.sense == "at_least":
            told.append(say("Steered towards, not guaranteed: {limit}.", limit=limit.title))
    if inputs.exploring != "even":
        told.append(say("Live decisions explore evenly among near-best actions, whatever the plan does."))
    return told


def _read_prior(reader: Queryable, day: date, cap_days: int) -> dict[str, int]:
    bound = {"ours": OURS, "first": day - timedelta(days=cap_days), "last": day}
    rows = reader.query(PRIOR_SQL, bound).to_pylist()
    return {row["customer_id"]: int(row["contacts"]) for row in rows}


def _read_consents(reader: Queryable, day: date, zone_name: str) -> list[ConsentState]:
    rows = reader.query(CONSENTS_SQL, bind_instant(find_knowledge_end(day, zone_name))).to_pylist()
    return [
        ConsentState(
            row["customer_id"],
            row["channel"],
            row["answered"],
            _count_ms(row["since"]),
            None if row["until"] is None else _count_ms(row["until"]),
        )
        for row in rows
    ]


def _keep_consents(store: Store, consents: Sequence[ConsentState]) -> None:
    for start in range(0, len(consents), _CHUNK):
        with store.begin() as connection:
            take_turn(connection)
            remember_consents(connection, consents[start : start + _CHUNK])


def _count_ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _check_arguments(share: float | None, hold_seconds: int) -> None:
    if share is not None and not 0 < share <= 1:
        raise BadInput(
            "strategy.bad_live_share",
            say("The day's share is {value}.", value=str(share)),
            remedy=say("Give a share above 0 and at most 1."),
            where={"column": "share", "value": str(share)},
        )
    if not 1 <= hold_seconds <= 86_400:
        raise BadInput(
            "strategy.bad_hold",
            say("A decision cannot wait for {value} seconds.", value=hold_seconds),
            remedy=say("Give from 1 second to a day (86400)."),
            where={"column": "hold", "value": hold_seconds},
        )


def _choose_name(store: Store, name: str | None, day: date) -> str:
    """The name given, or one by the day, numbered where the day was closed before; Conflict for one that stands."""
    if name is not None and not 0 < len(name) <= 64:
        raise BadInput(
            "strategy.bad_live_name",
            say("A live day needs a name of at most 64 characters."),
            remedy=say("Choose a shorter name."),
            where={"column": "name"},
        )
    with store.snapshot() as connection:
        rows = connection.execute(sa.select(LIVE_PLANS.c.plan_id, LIVE_PLANS.c.closed_at)).all()
    closed = {row.plan_id: row.closed_at is not None for row in rows}
    called, number = name or f"live-{day.isoformat()}", 1
    while name is None and closed.get(called):
        number += 1
        called = f"live-{day.isoformat()}-{number}"
    if called in closed:
        raise Conflict(
            "strategy.live_plan_exists",
            say("There is another live plan named '{name}' already.", name=called),
            remedy=say("Choose another name: what is decided by a plan cannot be changed."),
            where={"value": called},
        )
    return called


def _refuse_nothing() -> NotReady:
    return NotReady(
        "strategy.no_live_source",
        say("There is no optimised plan, and no effect is known by which a plan could be optimised."),
        remedy=say("Make a pilot and evaluate it first: aimwell strategy plan --wave pilot"),
        where={"table": "plans"},
    )
