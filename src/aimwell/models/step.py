"""Step 3 of a round, models: ``train`` what customers will do, ``learn`` what our actions change.

``train`` reads order_lines and products; writes scores, recommendations and model_cards. ``learn`` reads
assignments, outcomes, plans, plan_items, actions and the customers' past; writes effects and its model card.
Data that do not allow a model leave it out, with the reason in ``lacks``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimwell.core.errors import NotReady
from aimwell.core.seeds import derive_seed, generator
from aimwell.core.steps import Status, StepResult
from aimwell.core.tables import EFFECTS, MODEL_CARDS, RECOMMENDATIONS, SCORES
from aimwell.core.text import Text, say
from aimwell.engine.workspace import Run, Workspace
from aimwell.models.card import ModelCard
from aimwell.models.cards import (
    describe_clv,
    describe_effects,
    describe_next_products,
    describe_propensity,
)
from aimwell.models.clv import fit_clv, load_history, predict_clv, validate_clv
from aimwell.models.effect_features import load_sheet
from aimwell.models.effects import EffectModel, learn_effects
from aimwell.models.experiments import Experiments, load_experiments
from aimwell.models.joint_errors import summarise_errors
from aimwell.models.next_products import load_counts, recommend, validate_next_products
from aimwell.models.propensity import train_propensity

Progress = Callable[[Text], None]
Floats = NDArray[np.float64]

EFFECTS_MODEL = "effects"
NO_UPLIFT: dict[str, Any] = {
    "status": "none",
    "n": 0,
    "curve": [],
    "actions": [],
}


@dataclass
class _Work:
    """What a training run gathers on its way."""

    run: Run
    as_of: date
    margin_rate: float
    progress: Progress
    scores: list[pa.Table] = field(default_factory=list)
    cards: list[ModelCard] = field(default_factory=list)
    lacks: list[Text] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    def keep_scores(
        self,
        customer_ids: tuple[str, ...],
        model: str,
        score: Floats,
        lower: Floats | None = None,
        upper: Floats | None = None,
    ) -> None:
        count = len(customer_ids)
        empty = pa.nulls(count, pa.float64())
        columns = [
            pa.array(customer_ids, pa.string()),
            pa.array([model] * count, pa.string()),
            pa.array(score, pa.float64()),
            empty if lower is None else pa.array(lower, pa.float64()),
            empty if upper is None else pa.array(upper, pa.float64()),
            pa.array([self.as_of] * count, pa.date32()),
            pa.array([self.run.id] * count, pa.string()),
        ]
        self.scores.append(pa.Table.from_arrays(columns, schema=SCORES.schema))


def train(workspace: Workspace, *, as_of: date, progress: Progress | None = None) -> StepResult:
    """CLV, propensities and next products from everything before ``as_of``.

    Status "partial" when a model had to be left out, "skipped" when all had to.
    """
    with workspace.run("models", as_of=as_of) as run:
        work = _Work(run, as_of, workspace.settings.business.margin_rate, progress or _ignore)
        steps = (
            (say("Customer lifetime value"), _train_clv),
            (say("Propensities"), _train_propensity),
            (say("Next products"), _train_next_products),
        )
        for title, step in steps:
            work.progress(title)
            try:
                step(work)
            except NotReady as lack:
                reason = (
                    lack.message
                    if lack.remedy is None
                    else say("{reason} {remedy}", reason=lack.message, remedy=lack.remedy)
                )
                work.lacks.append(say("Not modelled: {model}. {reason}", model=title, reason=reason))
        run.replace("scores", pa.concat_tables(work.scores) if work.scores else SCORES.build([]))
        if "next_products" not in work.summary:
            run.replace("recommendations", RECOMMENDATIONS.build([]))
        _replace_cards(run, work.cards, keep={EFFECTS_MODEL})
    status: Status = "skipped" if not work.cards else "partial" if work.lacks else "done"
    return StepResult("models", status, _summarize(work), tuple(work.lacks))


def learn(workspace: Workspace, *, as_of: date) -> StepResult:
    """Effects of every action on every customer, from all experiments that ended before ``as_of``."""
    with workspace.run("effects", as_of=as_of) as run:
        experiments = load_experiments(run, as_of=as_of)
        if experiments is None:
            lack = say("No experiment yet: run the pilot. Until then no effect of an action is known.")
            return StepResult("models", "skipped", {"uplift": NO_UPLIFT}, (lack,))
        try:
            model = learn_effects(experiments.data, seed=run.seed)
        except NotReady as problem:
            lacks = (problem.message,) if problem.remedy is None else (problem.message, problem.remedy)
            return StepResult("models", "skipped", {"uplift": NO_UPLIFT}, lacks)
        effects, errors = _predict_everybody(run, experiments, model, as_of)
        run.replace("effects", effects)
        card = describe_effects(
            model,
            as_of=as_of,
            n=len(experiments.data),
            plans=len(experiments.plans),
            simulated=experiments.simulated,
        )
        evidence = {"errors": errors, "personalising": _judge_personalising(model)}
        _replace_cards(run, [replace(card, evidence=evidence)], keep=None)
        uplift = _summarize_uplift(run, experiments, model)
    return StepResult("models", "done", {"uplift": uplift, "cards": [card.to_dict()]})


def _ignore(_: Text) -> None:
    """Where nobody listens to progress."""


def _train_clv(work: _Work) -> None:
    history = load_history(work.run, until=work.as_of, margin_rate=work.margin_rate)
    model = fit_clv(history)
    random = generator(work.run.seed, "clv")
    validation = validate_clv(work.run, as_of=work.as_of, margin_rate=work.margin_rate, random=random)
    prediction = predict_clv(model, history, random=random)
    work.keep_scores(history.customer_ids, "clv", prediction.estimate, prediction.lower, prediction.upper)
    work.keep_scores(history.customer_ids, "active", prediction.alive)
    card = describe_clv(model, prediction, validation, as_of=work.as_of)
    work.cards.append(card)
    work.summary["clv"] = {
        "parameters": card.parameters,
        "total_predicted": prediction.total.to_dict(),
        "holdout": {
            "predicted": validation.predicted_total.to_dict(),
            "observed": validation.observed_total,
            "start": validation.start.isoformat(),
            "end": validation.end.isoformat(),
        },
        "calibration": [list(point) for point in validation.calibration],
    }


def _train_propensity(work: _Work) -> None:
    seed = derive_seed(work.run.seed, "propensity")
    result = train_propensity(work.run, as_of=work.as_of, seed=seed)
    for place, group in enumerate(result.groups):
        quality = result.quality[place]
        card = describe_propensity(result.grouping, group, quality, as_of=work.as_of)
        work.cards.append(card)
        work.keep_scores(result.customer_ids, card.model, result.scores[:, place])


def _train_next_products(work: _Work) -> None:
    seed = derive_seed(work.run.seed, "next products")
    counts = load_counts(work.run, until=work.as_of)
    quality = validate_next_products(work.run, as_of=work.as_of, seed=seed)
    best = recommend(counts, share=quality.share, seed=seed)
    count, top = best.products.shape
    ids = pa.array(counts.customer_ids, pa.string()).take(pa.array(np.repeat(np.arange(count), top)))
    columns = [
        ids,
        pa.array(np.tile(np.arange(1, top + 1), count), pa.int64()),
        pa.array(counts.product_ids, pa.string()).take(pa.array(best.products.reshape(-1))),
        pa.array(best.scores.reshape(-1), pa.float64()),
        pa.array(best.new.reshape(-1), pa.bool_()),
        pa.array([work.run.id] * (count * top), pa.string()),
    ]
    work.run.replace("recommendations", pa.Table.from_arrays(columns, schema=RECOMMENDATIONS.schema))
    card = describe_next_products(quality, as_of=work.as_of, customers=count)
    work.cards.append(card)
    work.summary["next_products"] = {
        "ndcg": quality.ndcg,
        "baseline_ndcg": quality.baseline_ndcg,
        "n": quality.n,
        "method": card.method,
    }


def _replace_cards(run: Run, cards: list[ModelCard], *, keep: set[str] | None) -> None:
    """Write ``cards``; of the others only those in ``keep`` stay (None: all)."""
    fresh = {card.model for card in cards}
    old = run.query("SELECT model, card, run_id FROM model_cards ORDER BY model").to_pylist()
    kept = [row for row in old if row["model"] not in fresh and (keep is None or row["model"] in keep)]
    run.replace("model_cards", MODEL_CARDS.build([*kept, *(card.to_row(run.id) for card in cards)]))


def _summarize(work: _Work) -> dict[str, Any]:
    propensities = [card for card in work.cards if card.kind == "propensity"]
    curves = {
        name: [
            {"model": card.model, "title": card.title.both(), "points": card.curves[name]}
            for card in propensities
        ]
        for name in ("lift", "calibration")
    }
    cards = [card.to_dict() for card in work.cards]
    return {"cards": cards, **curves, **work.summary, "uplift": NO_UPLIFT}


def _judge_personalising(model: EffectModel) -> dict[str, Any]:
    """Whether customers are proven to differ, judged out of fold; as strategy reads it."""
    validation = model.validation
    return {
        "source": "plans",
        "proven": model.proven,
        "n": validation.n,
        "p_value": validation.calibration.p_value,
        "slope": model.slope,
    }


def _predict_everybody(
    run: Run, experiments: Experiments, model: EffectModel, as_of: date
) -> tuple[pa.Table, dict[str, Any]]:
    """Effects of every action that can be chosen today, for everybody, and how their errors move together."""
    today = [
        row["action_id"] for row in run.query("SELECT action_id FROM actions ORDER BY action_id").to_pylist()
    ]
    actions = experiments.catalogue.actions
    places = [number for number, name in enumerate(actions.ids) if not today or name in today]
    sheet = load_sheet(run, until=as_of, departments=experiments.catalogue.departments)
    found = model.predict(sheet.features)
    count, width = len(sheet.customer_ids), len(places)
    raw = found.raw[:, places].reshape(-1)
    names = pa.array([actions.ids[place] for place in places], pa.string())
    rows = count * width
    columns = [
        pa.array(sheet.customer_ids, pa.string()).take(pa.array(np.repeat(np.arange(count), width))),
        names.take(pa.array(np.tile(np.arange(width), count))),
        pa.array(found.estimate[:, places].reshape(-1), pa.float64()),
        pa.array(found.standard_error[:, places].reshape(-1), pa.float64()),
        pa.array(raw, pa.float64(), mask=~np.isfinite(raw)),
        pa.array(found.redemption[:, places].reshape(-1), pa.float64()),
        pa.array([as_of] * rows, pa.date32()),
        pa.nulls(rows, pa.bool_()),
        pa.array([run.id] * rows, pa.string()),
    ]
    errors = summarise_errors(model, sheet.features, found, places)
    return pa.Table.from_arrays(columns, schema=EFFECTS.schema), errors


def _summarize_uplift(run: Run, experiments: Experiments, model: EffectModel) -> dict[str, Any]:
    titles = {
        row["action_id"]: Text.from_json(row["title"]).both()
        for row in run.query("SELECT action_id, title FROM actions ORDER BY action_id").to_pylist()
    }
    proven = model.proven
    sentence = (
        say(
            "Customers differ in how they respond: choosing an action for each of them is supported by the data."
        )
        if proven
        else say(
            "No detectable difference between customers yet: effects are close to each action's average."
        )
    )
    return {
        "status": "learnt",
        "n": model.validation.n,
        "plans": list(experiments.plans),
        "simulated": experiments.simulated,
        "qini": model.validation.qini.to_dict(),
        "curve": model.validation.curve.to_rows(),
        "heterogeneity": {
            "proven": proven,
            "p_value": model.validation.calibration.p_value,
            "sentence": sentence.both(),
        },
        "actions": [
            {
                "action_id": name,
                "title": titles.get(name, {"en": name, "zh": name}),
                "effect": effect.to_dict(),
                "shrunken": effect.estimate,
                "raw": model.raw_means[name] if np.isfinite(model.raw_means[name]) else None,
            }
            for name, effect in model.effects.items()
        ],
        "slope": model.slope,
        "shrinkage": model.shrinkage,
        "redemption": {
            name: float(rate)
            for name, rate in zip(experiments.catalogue.actions.ids, model.redemption.rates, strict=True)
        },
    }


def read_cards(workspace: Workspace) -> list[dict[str, Any]]:
    """All model cards of the workspace, by name; empty before the first training."""
    with workspace.read() as reader:
        rows = reader.query("SELECT card FROM model_cards ORDER BY model").to_pylist()
    cards = [json.loads(row["card"]) for row in rows]
    return [{name: value for name, value in card.items() if name != "evidence"} for card in cards]
