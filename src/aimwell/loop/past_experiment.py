"""A past experiment that came with the customers: learnt from, guarded, valued on rows kept apart, and handed over.

Reads ``customers`` (the arm, the outcome and what was known before stand in their open columns) and ``actions``; writes
``actions`` (the experiment's arms among them), ``effects`` (of those arms, for everybody) and their ``model_cards``
row, with the guard's verdict. Models learn, strategy guards: this module runs them in order and knows nothing of
either's methods.

The experiment's customers are split by a salted hash. From one part effects are learnt, and out of fold the guard asks
whether choosing for each customer beats the best single action; the other part, which nothing was learnt from, values
what came of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.estimate import Estimate
from aimwell.core.lists import join_list
from aimwell.core.money import show_money
from aimwell.core.seeds import draw_uniforms
from aimwell.core.steps import StepResult
from aimwell.core.tables import EFFECTS, MODEL_CARDS
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Run, Workspace
from aimwell.models.arms import ArmModels, ArmRows, encode_traits, learn_arms, predict_outcomes
from aimwell.models.card import ModelCard
from aimwell.models.cards import describe_effects
from aimwell.stats.policy_value import compare_policies, score_arms, value_policy
from aimwell.strategy.actions import Action, build_action_rows
from aimwell.strategy.guard import (
    Guard,
    GuardedEffects,
    check_personalising,
    choose_arms,
    explain_guard,
    guard_effects,
)
from aimwell.strategy.step import read_actions

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
FOLDS = 2


@dataclass(frozen=True)
class Arm:
    """One treated arm: its value in the column, and the action that repeats it."""

    value: str
    channel: str
    unit_cost: Decimal

    @property
    def offer(self) -> str:
        """The arm's name in code."""
        words = "".join(sign if sign.isalnum() else " " for sign in self.value.lower()).split()
        return "_".join(words) or "arm"

    def make_action(self) -> Action:
        """Nothing is given away: what the arm is worth is in its effect."""
        return Action(
            action_id=f"{self.offer}:{self.channel}",
            offer=self.offer,
            title=Text(self.value),
            channel=self.channel,
            department=None,
            discount=0.0,
            unit_cost=self.unit_cost,
            redemption_cost=Decimal(0),
            minutes=0.0,
        )


@dataclass(frozen=True)
class PastExperiment:
    """Where in ``customers`` the experiment stands. ``worth``: money that one unit of the outcome is worth."""

    arm: str
    outcome: str
    control: str
    arms: tuple[Arm, ...]
    traits: tuple[str, ...]
    """Columns known before the experiment; what it may have changed must not be among them."""
    worth: float
    held_out: float = 0.5


@dataclass(frozen=True)
class _Learnt:
    rows: ArmRows
    learn: Flags
    models: ArmModels
    guard: Guard
    effects: GuardedEffects
    """Of the experiment's customers."""
    profits: Floats
    """Doubly robust scores of the rows kept apart less the cost of contact; n × arms, the control last."""
    charges: Floats
    """Cost of contact by arm; money."""


def learn_past_experiment(workspace: Workspace, experiment: PastExperiment, *, as_of: date) -> StepResult:
    """Learn, guard, value and hand over; BadInput for unusable columns, NotReady where arms are too small."""
    with workspace.run("experiment", as_of=as_of, parameters={"arm": experiment.arm}) as run:
        customers, rows, everybody = _read_rows(run, experiment)
        actions = tuple(arm.make_action() for arm in experiment.arms)
        costs = np.array([float(arm.unit_cost) for arm in experiment.arms])
        salt = f"{workspace.settings.seed}:{experiment.arm}"
        learn = draw_uniforms(salt, customers) >= experiment.held_out
        learnt = _learn(rows, learn, costs, seed=run.seed)
        estimate, error = learnt.models.predict(everybody[1])
        guarded = guard_effects(learnt.guard, GuardedEffects(estimate, error), *learnt.models.means)
        kept = tuple(
            action for action in read_actions(run) if action.action_id not in {a.action_id for a in actions}
        )
        run.replace(
            "actions", build_action_rows(sorted((*kept, *actions), key=lambda a: a.action_id), run.id)
        )
        run.replace("effects", _build_effects(run, everybody[0], actions, guarded, as_of))
        summary = _summarise(learnt, experiment, workspace.settings.business.currency)
        _replace_card(run, _describe(learnt, experiment, workspace.settings.business.currency, as_of))
    return StepResult("models", "done", summary)


def _read_rows(
    queryable: Queryable, experiment: PastExperiment
) -> tuple[list[str], ArmRows, tuple[list[str], Floats]]:
    """The experiment's customers and rows, and everybody's names and traits."""
    names = (experiment.arm, experiment.outcome, *experiment.traits)
    present = queryable.query("SELECT * FROM customers LIMIT 0").column_names
    missing = [name for name in names if name not in present]
    if missing or not experiment.traits or not experiment.arms:
        raise BadInput(
            "loop.unknown_column",
            say("The customers have no column: {names}.", names=join_list(missing) or "—"),
            remedy=say(
                "Name the columns of the arm, of the outcome, and at least one that was known before."
            ),
            where={"table": "customers", "column": missing[0] if missing else None},
        )
    if set(names[:2]) & set(experiment.traits) or experiment.arm == experiment.outcome:
        raise BadInput(
            "loop.leaking_column",
            say("The columns of the arm and of the outcome cannot be among what was known before."),
            remedy=say("Name only columns that the experiment could not change."),
            where={"table": "customers", "column": experiment.outcome},
        )
    columns = ", ".join('"{}"'.format(name.replace('"', '""')) for name in dict.fromkeys(names))
    table = queryable.query(f"SELECT customer_id, {columns} FROM customers ORDER BY customer_id")
    everybody = table["customer_id"].to_pylist()
    traits = encode_traits([_read_texts(table, name) for name in dict.fromkeys(experiment.traits)])
    values = [*(arm.value for arm in experiment.arms), experiment.control]
    place = {value: number for number, value in enumerate(values)}
    arm = np.array(
        [place.get(value or "", -1) for value in _read_texts(table, experiment.arm)], dtype=np.int64
    )
    outcome = np.array([_read_outcome(value) for value in _read_texts(table, experiment.outcome)])
    known = (arm >= 0) & np.isfinite(outcome)
    for number, value in enumerate(values):
        if not np.any(known & (arm == number)):
            raise NotReady(
                "loop.empty_arm",
                say("Nobody with an outcome is in the arm '{arm}'.", arm=value),
                remedy=say(
                    "Look at the spelling of the arms in the column '{column}'.", column=experiment.arm
                ),
                where={"table": "customers", "column": experiment.arm},
            )
    actions = tuple((f"{one.offer}:{one.channel}", one.offer, one.channel) for one in experiment.arms)
    rows = ArmRows(traits[known], outcome[known] * experiment.worth, arm[known], actions)
    return [name for name, kept in zip(everybody, known, strict=True) if kept], rows, (everybody, traits)


def _read_texts(table: pa.Table, name: str) -> list[str | None]:
    return [None if value is None else str(value) for value in table[name].to_pylist()]


def _read_outcome(value: str | None) -> float:
    try:
        return float(value) if value else float("nan")
    except ValueError:
        return float("nan")


def _learn(rows: ArmRows, learn: Flags, costs: Floats, *, seed: int) -> _Learnt:
    probability = np.bincount(rows.arm, minlength=rows.control + 1) / len(rows)
    charges = np.append(costs, 0.0)
    part = rows.take(learn)
    guard = _guard(part, probability, charges, seed=seed)
    models = learn_arms(part, seed=seed)
    estimate, error = models.predict(rows.traits)
    effects = guard_effects(guard, GuardedEffects(estimate, error), *models.means)
    apart = ~learn
    scores = _score(rows, predict_outcomes(rows, learn), probability)[apart] - charges
    return _Learnt(rows, learn, models, guard, effects, scores, charges)


def _guard(rows: ArmRows, probability: Floats, charges: Floats, *, seed: int) -> Guard:
    """Effects and predictions out of fold, so that the guard never judges what was learnt from the same rows."""
    fold = np.arange(len(rows)) % FOLDS
    net, scores = np.zeros((len(rows), rows.control)), np.zeros((len(rows), rows.control + 1))
    for number in range(FOLDS):
        test = fold == number
        estimate, _ = learn_arms(rows.take(~test), seed=seed).predict(rows.traits[test])
        net[test] = estimate - charges[:-1]
        scores[test] = _score(rows, predict_outcomes(rows, ~test), probability)[test] - charges
    return check_personalising(net, scores)


def _score(rows: ArmRows, predicted: Floats, probability: Floats) -> Floats:
    return score_arms(rows.outcome, rows.arm, np.broadcast_to(probability, predicted.shape), predicted)


def _build_effects(
    run: Run, customers: Sequence[str], actions: Sequence[Action], effects: GuardedEffects, as_of: date
) -> pa.Table:
    count, width = len(customers), len(actions)
    order = np.argsort([action.action_id for action in actions])
    names = pa.array([actions[place].action_id for place in order], pa.string())
    total = count * width
    return pa.Table.from_arrays(
        [
            pa.array(customers, pa.string()).take(pa.array(np.repeat(np.arange(count), width))),
            names.take(pa.array(np.tile(np.arange(width), count))),
            pa.array(effects.estimate[:, order].reshape(-1), pa.float64()),
            pa.array(effects.standard_error[:, order].reshape(-1), pa.float64()),
            pa.nulls(total, pa.float64()),
            pa.array(np.zeros(total), pa.float64()),
            pa.array([as_of] * total, pa.date32()),
            pa.nulls(total, pa.bool_()),
            pa.array([run.id] * total, pa.string()),
        ],
        schema=EFFECTS.schema,
    )


def _summarise(learnt: _Learnt, experiment: PastExperiment, currency: str) -> dict[str, Any]:
    titles = [*(Text(arm.value) for arm in experiment.arms), say("nothing")]
    apart = ~learnt.learn
    chosen = choose_arms(learnt.effects.estimate[apart] - learnt.charges[:-1])
    same = np.full(int(apart.sum()), learnt.guard.single, dtype=np.int64)
    difference = compare_policies(learnt.profits, chosen, same)
    single = titles[learnt.guard.single]
    return {
        "customers": len(learnt.rows),
        "learnt_from": int(learnt.learn.sum()),
        "held_out": int(apart.sum()),
        "actions": [_show_action(learnt, place, arm) for place, arm in enumerate(experiment.arms)],
        "guard": {
            **learnt.guard.to_dict(),
            "single": single.both(),
            "sentence": _tell_guard(learnt, experiment, currency).both(),
        },
        "value": {
            "guarded": value_policy(learnt.profits, chosen).to_dict(),
            "single": value_policy(learnt.profits, same).to_dict(),
            "nothing": value_policy(learnt.profits, np.full_like(same, learnt.rows.control)).to_dict(),
            "difference": difference.to_dict(),
            "sentence": _say_value(difference, single, int(apart.sum()), currency).both(),
        },
        "currency": currency,
    }


def _tell_guard(learnt: _Learnt, experiment: PastExperiment, currency: str) -> Text:
    titles = [*(Text(arm.value) for arm in experiment.arms), say("nothing")]
    return explain_guard(
        learnt.guard, titles[learnt.guard.single], _show_ends(learnt.guard.difference, currency)
    )


def _describe(learnt: _Learnt, experiment: PastExperiment, currency: str, as_of: date) -> ModelCard:
    """The card of the effects, with the guard's verdict for strategy."""
    model = learnt.models.models[min(learnt.guard.single, len(learnt.models.models) - 1)]
    card = describe_effects(model, as_of=as_of, n=int(learnt.learn.sum()), plans=1, simulated=False)
    verdict = {"source": "experiment", "proven": learnt.guard.proven, "n": int(learnt.learn.sum())}
    sentence = _tell_guard(learnt, experiment, currency).to_json()
    return replace(card, evidence={"personalising": {**verdict, "sentence": sentence}})


def _replace_card(run: Run, card: ModelCard) -> None:
    rows = run.query("SELECT model, card, run_id FROM model_cards ORDER BY model").to_pylist()
    others = [row for row in rows if row["model"] != card.model]
    run.replace("model_cards", MODEL_CARDS.build([*others, card.to_row(run.id)]))


def _show_action(learnt: _Learnt, place: int, arm: Arm) -> dict[str, Any]:
    model = learnt.models.models[place]
    effect = next(iter(model.effects.values()))
    return {
        "action_id": f"{arm.offer}:{arm.channel}",
        "title": Text(arm.value).both(),
        "effect": effect.to_dict(),
        "differences_proven": model.proven,
        "qini": model.validation.qini.to_dict(),
        "treated": int((learnt.rows.arm == place).sum()),
    }


def _say_value(difference: Estimate, single: Text, count: int, currency: str) -> Text:
    shown, lower, upper = _show_ends(difference, currency)
    return say(
        "On {count} customers kept apart, the guarded choice is worth {difference} a customer against '{single}' for "
        "all ({lower} to {upper}).",
        count=count,
        difference=shown,
        single=single,
        lower=lower,
        upper=upper,
    )


def _show_ends(estimate: Estimate, currency: str) -> tuple[str, str, str]:
    shown = [show_money(value, currency) for value in (estimate.estimate, estimate.lower, estimate.upper)]
    return shown[0], shown[1], shown[2]
