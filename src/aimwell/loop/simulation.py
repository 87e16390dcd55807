"""Many rounds in memory: the loop's own learning, planning and measuring, on the simulated market.

Nothing is written: a ``Season`` holds what was known on a wave's first day and what the customers did without
contact; every seed then draws arms and responses anew. It shows over many seeds what one demo shows once:
that the second round earns more, and that intervals cover the truth. Reads what the steps read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from aimwell.analysis.step import describe
from aimwell.core.errors import NotReady
from aimwell.core.estimate import Estimate
from aimwell.core.tables import ASSIGNMENTS
from aimwell.core.text import Text
from aimwell.engine.workspace import Reader, Workspace
from aimwell.evaluation.experiment import build_experiment
from aimwell.evaluation.method import choose_method, compare
from aimwell.evaluation.outcomes import query_outcomes
from aimwell.evaluation.plan import Plan, find_periods
from aimwell.loop.market_features import read_customers, read_market_actions
from aimwell.loop.record import WaveName
from aimwell.models.effect_features import CustomerSheet, load_sheet
from aimwell.models.effects import learn_effects
from aimwell.models.experiments import Catalogue, assemble_experiments, load_catalogue
from aimwell.strategy.basis import Evidence, prepare
from aimwell.strategy.inputs import PlanInputs, PlanResult
from aimwell.strategy.market import Market, MarketActions, MarketCustomers, Responses, respond
from aimwell.strategy.optimism import Kept
from aimwell.strategy.planner import make_pilot, make_rollout
from aimwell.strategy.step import keep_actions, read_actions, read_inputs

DAYS = 28
Z = 1.96
OWN = Evidence(personalising={"source": "plans", "proven": None})
REPETITIONS = 20
"""Of the bootstrap inside the learner: its curves are not looked at here."""


@dataclass(frozen=True)
class Season:
    """What was known on ``as_of``, and what everybody did without contact in the window that follows."""

    as_of: date
    inputs: PlanInputs
    customers: MarketCustomers
    actions: MarketActions
    sheet: CustomerSheet
    quiet: pa.Table
    """Rows of ``evaluation.outcomes`` for everybody, in the order of ``inputs.customers``."""


@dataclass(frozen=True)
class World:
    """The seasons of consecutive waves, and what is learnt about."""

    seasons: tuple[Season, ...]
    catalogue: Catalogue


@dataclass(frozen=True)
class WaveOutcome:
    """One simulated wave: what it promised, what was estimated, and the truth; money."""

    name: WaveName
    promised: Estimate
    estimated: Estimate
    truth: float
    cost: float
    gap: float | None

    @property
    def kept(self) -> Kept:
        """What the next plan learns of this one's promise."""
        half = (self.estimated.upper - self.estimated.lower) / 2
        return Kept(self.promised.estimate, self.estimated.estimate, half / Z)


def read_world(workspace: Workspace, days: Sequence[date]) -> World:
    """The seasons that start on ``days``, from a workspace whose orders reach to the end of the last window."""
    with workspace.run("strategy", as_of=days[0]) as run:
        keep_actions(run, workspace.settings)
    seasons = []
    for day in days:
        describe(workspace, as_of=day)
        with workspace.read() as reader:
            seasons.append(_read_season(reader, workspace, day))
    with workspace.read() as reader:
        return World(tuple(seasons), load_catalogue(reader, set()))


def simulate_rounds(world: World, *, seed: int, waves: Sequence[WaveName]) -> list[WaveOutcome]:
    """Run ``waves`` one after the other; each learns from all before it. The market and all draws follow ``seed``."""
    market = Market(seed)
    rows: list[dict[str, Any]] = []
    outcomes: list[WaveOutcome] = []
    for number, (season, name) in enumerate(zip(world.seasons, waves, strict=False)):
        inputs = replace(season.inputs, plan_id=f"wave-{number}", salt=f"simulation:{seed}")
        if rows:
            inputs = _add_effects(inputs, world, season, rows, seed)
            inputs = prepare(inputs, OWN, [outcome.kept for outcome in outcomes]).inputs
        plan = make_rollout(inputs) if name == "rollout" and inputs.has_effects else make_pilot(inputs)
        action = np.full(len(inputs.customers), -1, dtype=np.int64)
        action[plan.customer[plan.treated]] = plan.action[plan.treated]
        found = respond(market, season.customers, season.actions, action, plan_id=inputs.plan_id)
        observed = _observe(season, inputs, plan, found)
        outcomes.append(_measure(name, inputs, plan, observed, found, seed))
        rows += _list_rows(season, inputs, plan, observed)
    return outcomes


def _read_season(reader: Reader, workspace: Workspace, day: date) -> Season:
    settings = workspace.settings
    actions = read_actions(reader)
    inputs = read_inputs(reader, settings, actions, as_of=day, plan_id="season")
    customers, departments = read_customers(reader, day, settings.business.margin_rate)
    catalogue = load_catalogue(reader, set())
    sheet = load_sheet(reader, until=day, departments=catalogue.departments)
    quiet = _read_quiet(reader, inputs.customers, day, settings.business.margin_rate)
    assert list(inputs.customers) == customers.customer_id == quiet["customer_id"].to_pylist()
    return Season(day, inputs, customers, read_market_actions(reader, departments), sheet, quiet)


def _read_quiet(reader: Reader, customers: Sequence[str], day: date, margin_rate: float) -> pa.Table:
    """Everybody's outcomes without contact: as if all of them were the control group of a plan."""
    everybody = [
        {
            "plan_id": "quiet",
            "customer_id": customer,
            "arm": "control",
            "probability": 1.0,
            "stratum": "all",
            "run_id": "simulation",
        }
        for customer in customers
    ]
    reader.register("everybody", ASSIGNMENTS.build(everybody))
    reader.execute("CREATE OR REPLACE TEMP VIEW assignments AS SELECT * FROM everybody")
    plan = Plan("quiet", "pilot", 1, day, DAYS, 0.0, 0.0, True)
    periods = find_periods(reader, plan)
    if isinstance(periods, Text):
        raise NotReady("loop.no_season", periods)
    return query_outcomes(reader, plan, periods=periods, margin_rate=margin_rate)


def _add_effects(
    inputs: PlanInputs, world: World, season: Season, rows: list[dict[str, Any]], seed: int
) -> PlanInputs:
    sheets = {past.as_of: past.sheet for past in world.seasons}
    experiments = assemble_experiments(rows, sheets, world.catalogue)
    model = learn_effects(experiments, seed=seed, repetitions=REPETITIONS)
    found = model.predict(season.sheet.features)
    place = {customer: row for row, customer in enumerate(season.sheet.customer_ids)}
    who = np.array([place[customer] for customer in inputs.customers])
    what = np.array([world.catalogue.actions.ids.index(action.action_id) for action in inputs.actions])
    cells = np.ix_(who, what)
    return replace(
        inputs,
        estimate=found.estimate[cells],
        standard_error=found.standard_error[cells],
        redemption=found.redemption[cells],
    )


def _observe(season: Season, inputs: PlanInputs, plan: PlanResult, found: Responses) -> pa.Table:
    """What evaluation would read of the plan's customers."""
    chosen, treated = plan.customer, plan.treated
    quiet = season.quiet.take(pa.array(chosen))
    contact = np.array([inputs.unit_cost[action] for action in plan.action])
    columns: dict[str, Any] = {
        "arm": np.where(treated, "treatment", "control"),
        "action_id": [inputs.actions[action].action_id for action in plan.action],
        "probability": plan.arm_probability,
        "stratum": [inputs.tiers[row] for row in chosen],
        "orders": quiet["orders"].to_numpy() + found.orders[chosen],
        "revenue": quiet["revenue"].to_numpy() + found.revenue[chosen],
        "contribution": quiet["contribution"].to_numpy() + found.contribution[chosen],
        "redeemed": found.redemptions[chosen].astype(np.float64),
        "offer_cost": found.offer_cost[chosen],
        "contact_cost": np.where(treated, contact, 0.0),
        "reached": treated.astype(np.int64),
    }
    for name, values in columns.items():
        quiet = quiet.set_column(quiet.column_names.index(name), name, pa.array(values))
    return quiet


def _measure(
    name: WaveName, inputs: PlanInputs, plan: PlanResult, observed: pa.Table, found: Responses, seed: int
) -> WaveOutcome:
    experiment = build_experiment(observed, treatment=("treatment",), control=("control",))
    method = choose_method(experiment, has_before=True, seed=seed)
    # As ``evaluation.increment`` does, whose other metrics nobody looks at here: each would cost draws of its own.
    contribution = compare(
        experiment, experiment.outcomes["contribution"], method=method, name="contribution"
    )
    return WaveOutcome(
        name=name,
        promised=plan.expected_profit,
        estimated=contribution.find_profit(experiment.contact_total).to_estimate(),
        truth=float(found.contribution.sum()) - experiment.contact_total,
        cost=experiment.contact_total + float(experiment.offer_cost[experiment.treated].sum()),
        gap=plan.gap,
    )


def _list_rows(
    season: Season, inputs: PlanInputs, plan: PlanResult, observed: pa.Table
) -> list[dict[str, Any]]:
    """The wave as ``models.experiments`` reads it."""
    kept = ("customer_id", "arm", "action_id", "probability", "stratum", "contribution", "redeemed")
    before = ("orders_before", "revenue_before", "contribution_before")
    return [
        {
            **row,
            "plan_id": inputs.plan_id,
            "plan_day": season.as_of,
            "method": plan.method,
            "drawn_with": float(plan.probability[number]),
        }
        for number, row in enumerate(observed.select([*kept, *before]).to_pylist())
    ]
