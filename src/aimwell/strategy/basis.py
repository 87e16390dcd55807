"""What a plan's promise rests on, made ready once for every question: plan, frontier, comparison, explanation.

In this order: effects that came as measured become joint beliefs, corrected for the winner's curse (``promise``);
effects that are posteriors already stay. Errors move together as the effects' model says (``joint``). Where the
settings ask for proof, customers' own effects count only when held-out answers prove that customers differ. Then
everything is taken at the share that past plans kept (``optimism``), and uncertain effects are avoided while the last
promise is broken (``fallback``). Reads ``effects``, ``model_cards``, ``lessons``, ``plans``; writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable
from aimwell.engine.settings import Settings
from aimwell.strategy.fallback import fall_back
from aimwell.strategy.inputs import PlanInputs
from aimwell.strategy.joint import JointErrors, sum_errors
from aimwell.strategy.optimism import OWN_MODEL, Kept, measure_kept_share, start_from_lessons
from aimwell.strategy.planner import split_audience
from aimwell.strategy.problem import Integers, Reals
from aimwell.strategy.promise import Correction, find_beliefs

Personalising = Literal["believed", "proven"]
CARD_SQL = """
SELECT model_cards.card
FROM model_cards
WHERE model_cards.model = 'effects'
  AND model_cards.run_id IN (SELECT DISTINCT effects.run_id FROM effects)
"""
KEPT_SQL = """
SELECT lessons.promised, lessons.realised, lessons.standard_error
FROM lessons
LEFT JOIN plans ON plans.plan_id = lessons.plan_id
WHERE lessons.action_id IS NULL AND lessons.plan_id <> $plan_id
ORDER BY plans.as_of NULLS FIRST, plans.round_number, lessons.plan_id
"""


@dataclass(frozen=True)
class Evidence:
    """What the model that made the effects says about them; all empty where nobody says anything."""

    actions: tuple[str, ...] = ()
    edges: Reals | None = None
    """Actions × (groups − 1), of the estimates."""
    loading: Reals | None = None
    """Actions × groups × factors (``models.joint_errors``)."""
    personalising: dict[str, Any] | None = None
    """Whether customers are proven to differ on answers that were held out."""

    @property
    def own(self) -> bool:
        """Whether the effects were learnt from the workspace's own plans."""
        return self.personalising is not None and self.personalising["source"] == "plans"

    @property
    def proven(self) -> bool | None:
        """Whether personalising is proven; None: it cannot be told."""
        return None if self.personalising is None else bool(self.personalising["proven"])


@dataclass(frozen=True)
class Basis:
    """What was made of the inputs before anything competed."""

    inputs: PlanInputs
    """As they are to be used."""
    evidence: Evidence
    correction: Correction | None
    """Of the promise, where effects came as measured."""
    kept_share: float
    """Of what the effects promise, by what past plans kept and by what is expected before any was measured."""
    measured: bool
    """Whether any past plan was measured."""
    alike: bool
    """Whether every customer has each action's mean effect, since personalising is not proven."""
    careful: tuple[Text, ...]
    """Why the plan falls back, in words."""

    def describe(self) -> tuple[Text, ...]:
        """What the promise rests on, in words; nothing as long as no effect is known."""
        inputs = self.inputs
        if not inputs.has_effects:
            return ()
        told = [_tell_personalising(self), _tell_errors(inputs)]
        if self.correction is not None:
            told.insert(0, _tell_correction(self.correction))
        if abs(self.kept_share - 1) >= 0.005:
            told.append(_tell_kept(self.kept_share, measured=self.measured))
        if inputs.caution:
            told.append(
                say(
                    "{count} × its standard error is taken off each effect before it competes (caution).",
                    count=f"{inputs.caution:g}",
                )
            )
        return (*told, _tell_exploring(inputs))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; ``sentences`` in both languages."""
        correction = self.correction
        return {
            "personalising_proven": self.evidence.proven,
            "alike": self.alike,
            "joint_errors": self.inputs.joint is not None,
            "promised_share": None if correction is None else correction.share,
            "kept_share": self.kept_share,
            "caution": self.inputs.caution,
            "exploring": self.inputs.exploring,
            "exploration_share": self.inputs.shares.exploration,
            "sentences": [text.both() for text in self.describe()],
            "careful": [text.both() for text in self.careful],
        }


def read_basis(queryable: Queryable, settings: Settings, inputs: PlanInputs) -> Basis:
    """``inputs`` as they stand in the tables, made ready; Conflict when their limits contradict each other."""
    return prepare(
        inputs,
        read_evidence(queryable),
        read_kept(queryable, inputs.plan_id),
        personalising=settings.strategy.personalising,
    )


def prepare(
    inputs: PlanInputs,
    evidence: Evidence,
    kept: Sequence[Kept],
    *,
    personalising: Personalising = "believed",
) -> Basis:
    """Beliefs, joint errors, proof, lessons and caution, in this order; inputs without effects stay as they are."""
    if not inputs.has_effects:
        return Basis(inputs, evidence, None, 1.0, False, False, ())
    believed, correction = find_beliefs(inputs, split_audience(inputs)[0])
    # Loadings are of the model's own effects; what was measured elsewhere has nothing to do with them.
    ready = believed if correction is not None else replace(believed, joint=join_errors(believed, evidence))
    alike = personalising == "proven" and not evidence.proven
    if alike:
        ready = make_alike(ready)
    expected = OWN_MODEL if evidence.own and correction is None else 1.0
    ready, careful = fall_back(start_from_lessons(ready, kept, expected=expected), kept)
    share = measure_kept_share(kept, expected=expected)
    measured = any(plan.promised > 0 and plan.standard_error > 0 for plan in kept)
    return Basis(ready, evidence, correction, share, measured, alike, careful)


def join_errors(inputs: PlanInputs, evidence: Evidence) -> JointErrors | None:
    """How the errors of ``inputs`` move together; None where the model does not say it for every known action."""
    if evidence.loading is None or evidence.edges is None or inputs.estimate is None:
        return None
    place = {name: number for number, name in enumerate(evidence.actions)}
    groups = evidence.loading.shape[1]
    group = np.zeros(inputs.eligible.shape, dtype=np.int64)
    loading = np.zeros((len(inputs.actions), *evidence.loading.shape[1:]))
    for number, action in enumerate(inputs.actions):
        if action.action_id in place:
            row = place[action.action_id]
            group[:, number] = np.searchsorted(evidence.edges[row], inputs.estimate[:, number])
            loading[number] = evidence.loading[row]
        elif np.any(inputs.known[:, number]):
            return None
    return JointErrors(np.minimum(group, groups - 1), loading.reshape(-1, loading.shape[2]))


def make_alike(inputs: PlanInputs) -> PlanInputs:
    """Each action's mean effect for everybody who may get it; the error is that of the mean."""
    if inputs.estimate is None:
        return inputs
    estimate, error = inputs.estimate.copy(), inputs.error.copy()
    for action in range(len(inputs.actions)):
        counted = np.flatnonzero(inputs.eligible[:, action] & inputs.known[:, action])
        if not len(counted):
            continue
        same: Integers = np.full(len(counted), action, dtype=np.int64)
        own = inputs.error[counted, action]
        spread = sum_errors(inputs.joint, own, counted, same, len(inputs.actions)).spread
        estimate[:, action] = np.where(
            inputs.known[:, action], float(inputs.estimate[counted, action].mean()), np.nan
        )
        error[:, action] = spread / len(counted)
    return replace(inputs, estimate=estimate, standard_error=error, joint=None)


def read_evidence(queryable: Queryable) -> Evidence:
    """What the card of the effects says; only the card of the run that wrote them counts."""
    rows = queryable.query(CARD_SQL).to_pylist()
    found = json.loads(rows[0]["card"]).get("evidence") if rows else None
    if not found:
        return Evidence()
    errors = found.get("errors")
    if not errors:
        return Evidence(personalising=found.get("personalising"))
    return Evidence(
        tuple(errors["actions"]),
        np.array(errors["edges"], dtype=np.float64),
        np.array(errors["loading"], dtype=np.float64),
        found.get("personalising"),
    )


def read_kept(queryable: Queryable, plan_id: str) -> tuple[Kept, ...]:
    """What other plans promised as a whole, and what came of it, in the order of their windows."""
    return tuple(Kept(**row) for row in queryable.query(KEPT_SQL, {"plan_id": plan_id}).to_pylist())


def _tell_personalising(basis: Basis) -> Text:
    verdict = basis.evidence.personalising
    if verdict is None:
        told = say(
            "Whether personalising is proven cannot be told: these effects do not come from an experiment that "
            "this workspace has measured."
        )
    elif verdict["source"] == "experiment":
        return Text.from_json(verdict["sentence"])
    elif verdict["proven"]:
        return say(
            "Personalising is proven: on {count} answers, each judged by what was learnt from the others, predicted "
            "differences between customers came true (p = {p}).",
            count=int(verdict["n"]),
            p=f"{verdict['p_value']:.2g}",
        )
    else:
        told = say(
            "Personalising is not proven: on {count} answers, each judged by what was learnt from the others, "
            "predicted differences between customers may be chance (p = {p}).",
            count=int(verdict["n"]),
            p=f"{verdict['p_value']:.2g}",
        )
    if basis.alike:
        return say("{sentence} So every customer has each action's mean effect.", sentence=told)
    if verdict is None:
        return told
    return say(
        "{sentence} Differences are drawn to the mean as far as the answers say, to {share} %.",
        sentence=told,
        share=f"{100 * verdict['slope']:.0f}",
    )


def _tell_errors(inputs: PlanInputs) -> Text:
    if inputs.joint is not None:
        return say("Intervals: errors move together as the coefficients of the effects' model say.")
    return say(
        "Intervals: how errors move together is not known; those of one action are taken to move all together, those "
        "of different actions to be independent."
    )


def _tell_correction(correction: Correction) -> Text:
    return say(
        "Effects came as measured: they became beliefs, jointly over each customer's actions, and {share} % of what is "
        "believed is promised, measured on a copy that nothing was chosen by.",
        share=f"{100 * correction.share:.0f}",
    )


def _tell_kept(share: float, *, measured: bool) -> Text:
    shown = f"{100 * share:.0f}"
    if measured:
        return say("Effects are taken at {share} %, by what past plans kept of their promises.", share=shown)
    return say(
        "Effects are taken at {share} %: no plan was measured here yet, and in simulated rounds first plans kept about "
        "that of what was believed.",
        share=shown,
    )


def _tell_exploring(inputs: PlanInputs) -> Text:
    share = f"{100 * inputs.shares.exploration:g}"
    if not inputs.shares.exploration:
        return say("Nothing is explored: the next round learns only of what was chosen.")
    if inputs.exploring == "thompson":
        return say(
            "{share} % of the chosen are explored: each near-best action as often as it may be the best (Thompson).",
            share=share,
        )
    return say("{share} % of the chosen are explored: evenly among near-best actions.", share=share)
