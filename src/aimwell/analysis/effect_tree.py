"""An effect tree: a few rules that tell for whom an experiment's action works better, measured on other customers.

Half of the experiment's customers, drawn by seed within each arm, decide the rules: each split is the one whose sides
differ most in treatment minus control, and must be significant after Bonferroni's correction for every question that
could have been asked. The other half measures the effect in each leaf, so that the choice of the rules does not
flatter what they show; a leaf whose interval includes zero is called not proven.
Source: Athey and Imbens, "Recursive partitioning for heterogeneous causal effects" (2016), honest trees.
Reads plans, assignments, outcomes, order_lines, events, customers, products; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from aimwell.analysis.catalogue import describe_tag_rule
from aimwell.analysis.drafts import Draft, name_draft
from aimwell.analysis.response_tree import (
    Flags,
    Floats,
    Leaf,
    choose_features,
    grow_leaves,
    list_edges,
    make_rule,
    reach_leaf,
    read_features,
)
from aimwell.core.errors import BadInput, NotReady
from aimwell.core.lists import join_list
from aimwell.core.money import show_money
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable
from aimwell.stats.distribution import find_chi_square_p_value
from aimwell.stats.effect import Effect
from aimwell.stats.weighting import compare_weighted

OUTCOMES = ("contribution", "revenue", "orders")
DEPTH = 2
SIGNIFICANCE = 0.05
LEAST = 50
"""So many customers of each arm are on either side of a split."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """Customers of two arms: what was known before (NaN: unknown), what came of it, the chance of the own arm."""

    values: Floats
    outcome: Floats
    treated: Flags
    probability: Floats

    def take(self, rows: Rows | Flags) -> Trial:
        """The trial of these customers only."""
        return Trial(self.values[rows], self.outcome[rows], self.treated[rows], self.probability[rows])


@dataclass(frozen=True)
class EffectTree:
    """Leaves as drafts, the greatest effect first; the effect on everybody, and whether the leaves differ at all.

    ``p_differ`` is that of Cochran's test that all leaves have one effect, on the half that measured. ``simulated``:
    the market simulator made the outcomes.
    """

    drafts: tuple[Draft, ...]
    overall: Effect
    p_differ: float
    grown_on: int
    measured_on: int
    simulated: bool


def build_effect_tree(
    reader: Queryable,
    types: Mapping[str, Type],
    plan_id: str,
    *,
    currency: str,
    outcome: str = "contribution",
    seed: int = 42,
) -> EffectTree:
    """Whom the actions of the plan ``plan_id`` moved, in ``outcome`` per customer, by tags before its window.

    Contribution and revenue are money in ``currency``, orders a number of orders.
    Treatment is compared with the plan's own control, among customers for whom an action was intended. BadInput for
    another outcome or an unknown plan; NotReady when its outcomes are not measured yet or no tag tells customers apart.
    """
    if outcome not in OUTCOMES:
        raise BadInput(
            "analysis.unknown_outcome",
            say("An experiment has no outcome '{outcome}'.", outcome=outcome),
            remedy=say("Choose one of: {names}.", names=join_list(OUTCOMES)),
            where={"value": outcome[:200]},
        )
    features = choose_features(types)
    trial = _read_trial(reader, plan_id, outcome, features)
    grown, measured = halve(trial, seed)
    leaves = grow_effect_leaves(grown)
    overall = compare_weighted(trial.outcome, trial.treated, trial.probability)
    if len(leaves) < 2:
        raise NotReady(
            "analysis.nothing_tells_effect",
            say(
                "No tag tells for whom the action works better. Its effect on {outcome} over all {n} customers: "
                "{effect} [{lower}, {upper}] per customer.",
                n=overall.n,
                **show_effect(overall, outcome, currency),
            ),
            remedy=say("Treat all alike, or wait for a larger experiment."),
        )
    effects = measure_leaves(leaves, measured)
    drafts = [
        _make_draft(leaf, effect, features, outcome, currency)
        for leaf, effect in zip(leaves, effects, strict=True)
    ]
    drafts.sort(key=lambda draft: -draft.figures["effect"])
    taken: set[str] = set()
    named = tuple(
        replace(draft, name=name_draft("effect", str(place), taken)) for place, draft in enumerate(drafts, 1)
    )
    sizes = len(grown.outcome), len(measured.outcome)
    return EffectTree(
        named, overall, compare_leaves(effects), *sizes, simulated=_is_simulated(reader, plan_id)
    )


def show_effect(effect: Effect, outcome: str, currency: str) -> dict[str, str | Text]:
    """``outcome``, ``effect``, ``lower`` and ``upper`` as people read them: money with its currency, orders as such."""
    shown: dict[str, str | Text] = {"outcome": _OUTCOME_TITLES[outcome]}
    for name, value in (("effect", effect.estimate), ("lower", effect.lower), ("upper", effect.upper)):
        if np.isinf(value):
            text = "∞" if value > 0 else "−∞"
        else:
            text = f"{value:.3g}" if outcome == "orders" else show_money(value, currency)
        shown[name] = f"+{text}" if name == "effect" and value > 0 else text
    return shown


def halve(trial: Trial, seed: int) -> tuple[Trial, Trial]:
    """Two halves, drawn within each arm; the same seed gives the same halves."""
    rng = np.random.default_rng(seed)
    first = np.zeros(len(trial.outcome), np.bool_)
    for arm in (trial.treated, ~trial.treated):
        rows = rng.permutation(np.flatnonzero(arm))
        first[rows[: len(rows) // 2]] = True
    return trial.take(first), trial.take(~first)


def grow_effect_leaves(trial: Trial, *, depth: int = DEPTH) -> list[Leaf]:
    """The leaves of a tree on ``trial``: each split has the greatest difference of effects, and is significant."""
    return grow_leaves(trial.values, lambda rows: _find_split(trial.take(rows)), depth=depth)


def measure_leaves(leaves: Sequence[Leaf], trial: Trial) -> list[Effect]:
    """Treatment minus control in each leaf with its 95 % interval, by inverse probabilities.

    A leaf that customers of one arm only reach has an effect of 0 within −∞ to ∞.
    """
    found = []
    for leaf in leaves:
        part = trial.take(reach_leaf(leaf, trial.values))
        sizes = int(part.treated.sum()), int((~part.treated).sum())
        if min(sizes) < 2:
            found.append(Effect(0.0, np.inf, -np.inf, np.inf, 1.0, *sizes, method="inverse probability"))
        else:
            found.append(compare_weighted(part.outcome, part.treated, part.probability))
    return found


def compare_leaves(effects: Sequence[Effect]) -> float:
    """The p-value of Cochran's Q: that all ``effects`` are one."""
    known = [effect for effect in effects if 0 < effect.standard_error < np.inf]
    if len(known) < 2:
        return 1.0
    weights = np.array([effect.standard_error**-2 for effect in known])
    values = np.array([effect.estimate for effect in known])
    middle = weights @ values / weights.sum()
    return find_chi_square_p_value(float(weights @ (values - middle) ** 2), len(known) - 1)


def _find_split(trial: Trial) -> tuple[int, float] | None:
    """The question whose sides differ most in effect, in standard errors, if significant among all that were asked."""
    best, asked = (0.0, -1, 0.0), 0
    for feature in range(trial.values.shape[1]):
        values = trial.values[:, feature]
        edges = list_edges(values)
        if not len(edges):
            continue
        # What is unknown is on the far side, as in a rule.
        bins = np.searchsorted(edges, np.where(np.isnan(values), np.inf, values), side="left")
        below, above, sizes = _measure_sides(trial, bins, len(edges))
        fits = sizes >= LEAST
        if not fits.any():
            continue
        asked += int(fits.sum())
        (effect, variance), (other, other_variance) = below, above
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(fits, (effect - other) ** 2 / (variance + other_variance), 0.0)
        place = int(np.argmax(np.nan_to_num(ratio, nan=0.0, posinf=0.0)))
        if ratio[place] > best[0]:
            best = (float(ratio[place]), feature, float(edges[place]))
    if best[1] < 0 or find_chi_square_p_value(best[0], 1) * asked > SIGNIFICANCE:
        return None
    return best[1], best[2]


def _measure_sides(
    trial: Trial, bins: Rows, edges: int
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats], Rows]:
    """Effect and its variance at most and above each edge, and the smaller arm on the smaller side."""
    weight = 1 / trial.probability
    sums = []
    for arm in (trial.treated, ~trial.treated):
        w, y, places = weight[arm], trial.outcome[arm], bins[arm]
        parts = (np.ones(len(w)), w, w * y, w * w, w * w * y, w * w * y * y)
        sums.append(np.stack([np.bincount(places, part, edges + 1).cumsum() for part in parts]))
    below = [arm[:, :-1] for arm in sums]
    above = [arm[:, -1:] - arm[:, :-1] for arm in sums]
    sizes = np.min([arm[0] for arm in (*below, *above)], axis=0).astype(np.int64)
    return _subtract(below), _subtract(above), sizes


def _subtract(arms: list[Floats]) -> tuple[Floats, Floats]:
    """Treatment minus control and its variance, from the sums of ``_measure_sides``."""
    means, variances = [], []
    for _, w, wy, w2, w2y, w2y2 in arms:
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = wy / w
            means.append(mean)
            variances.append((w2y2 - 2 * mean * w2y + mean * mean * w2) / (w * w))
    return means[0] - means[1], variances[0] + variances[1]


def _read_trial(reader: Queryable, plan_id: str, outcome: str, features: Sequence[str]) -> Trial:
    start = _find_start(reader, plan_id)
    rows = reader.query(
        f"""\
SELECT a.customer_id, a.arm, a.probability, o.{outcome} AS outcome
FROM assignments AS a
JOIN outcomes AS o ON o.plan_id = a.plan_id AND o.customer_id = a.customer_id
WHERE a.plan_id = $plan AND a.arm IN ('treatment', 'control') AND a.action_id IS NOT NULL
ORDER BY a.customer_id""",
        {"plan": plan_id},
    )
    if not rows.num_rows:
        raise NotReady(
            "analysis.no_outcomes",
            say("The outcomes of plan {plan} are not measured yet.", plan=plan_id),
            remedy=say("Wait for the end of its window, then: aimwell evaluation run"),
        )
    customers, values = read_features(reader, features, as_of=start)
    places = {customer: place for place, customer in enumerate(customers)}
    found = [places.get(customer, -1) for customer in rows.column("customer_id").to_pylist()]
    # Whoever is not among the customers of that day is known by nothing.
    padded = np.vstack([values, np.full((1, values.shape[1]), np.nan)])
    return Trial(
        padded[found],
        np.array(rows.column("outcome").to_pylist(), np.float64),
        np.array(rows.column("arm").to_pylist()) == "treatment",
        np.array(rows.column("probability").to_pylist(), np.float64),
    )


def _is_simulated(reader: Queryable, plan_id: str) -> bool:
    sql = "SELECT customer_id FROM outcomes WHERE plan_id = $plan AND simulated LIMIT 1"
    return bool(reader.query(sql, {"plan": plan_id}).num_rows)


def _find_start(reader: Queryable, plan_id: str) -> date:
    plans = reader.query("SELECT plan_id, as_of FROM plans ORDER BY as_of DESC, plan_id").to_pylist()
    for plan in plans:
        if plan["plan_id"] == plan_id:
            start: date = plan["as_of"]
            return start
    raise BadInput(
        "analysis.unknown_plan",
        say("There is no plan '{plan}'.", plan=plan_id),
        remedy=say("The plans are: {plans}.", plans=join_list(plan["plan_id"] for plan in plans[:20]) or "–"),
        where={"value": plan_id[:200]},
    )


_OUTCOME_TITLES = {
    "contribution": say("contribution"),
    "revenue": say("revenue"),
    "orders": say("orders"),
}


def _make_draft(leaf: Leaf, effect: Effect, features: Sequence[str], outcome: str, currency: str) -> Draft:
    rule = make_rule(leaf, features)
    values = show_effect(effect, outcome, currency) | {"rule": describe_tag_rule(rule)}
    if effect.proven:
        title = say("Effect on {outcome} {effect} [{lower}, {upper}] per customer: {rule}", **values)
    else:
        title = say(
            "Effect on {outcome} not proven, {effect} [{lower}, {upper}] per customer: {rule}", **values
        )
    figures = {
        "outcome": outcome,
        "currency": None if outcome == "orders" else currency,
        "effect": effect.estimate,
        "lower": effect.lower,
        "upper": effect.upper,
        "proven": effect.proven,
        "n_treatment": effect.n_treatment,
        "n_control": effect.n_control,
        "n_when_grown": len(leaf.rows),
    }
    return Draft("effect", title, rule, effect.n, figures)
