"""How effects are estimated, chosen from what was known before the window, never from its outcomes.

Reads and writes no table. Adjustment by regression always (Lin 2013). Intervals by Student where the
smaller side was to expect at least 400 buyers, by re-randomisation below (skewed money makes Student's
intervals miss), by inverse probabilities where the chance of treatment differs inside a stratum, with clustered
errors (CR2) where whole clusters were drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from aimwell.core.seeds import generator
from aimwell.core.text import Text, say
from aimwell.evaluation.experiment import Array, Experiment, Flags
from aimwell.stats.adjustment import Adjustment, compare_with_covariates
from aimwell.stats.distribution import LEVEL
from aimwell.stats.effect import Effect
from aimwell.stats.permutation import LEAST_ARM, Rerandomisation, rerandomise
from aimwell.stats.power import LEAST_BUYERS, find_customers_for_buyers
from aimwell.stats.regression import compare_by_clusters
from aimwell.stats.weighting import compare_strata, compare_weighted, find_group_moments

Kind = Literal["student", "rerandomised", "weighted", "clustered"]
_MOST_DRAWS = 60_000_000


@dataclass(frozen=True)
class Method:
    """The choice, and the figures that it rests on."""

    kind: Kind
    expected_buyers: float
    """Buyers that the smaller side was to expect in the window."""
    buyer_share: float
    seed: int

    @property
    def needed_customers(self) -> int | None:
        """Customers that the smaller side needs to expect 400 buyers; None when nobody was to buy."""
        return find_customers_for_buyers(self.buyer_share)

    def describe(self) -> Text:
        """The choice in words."""
        if self.kind == "weighted":
            return say(
                "Regression adjustment; customers weighted by the inverse of their logged probability."
            )
        if self.kind == "clustered":
            return say(
                "Regression adjustment on what was known before (Lin); errors clustered by what was drawn as a whole."
            )
        if self.kind == "student":
            return say(
                "Regression adjustment on what was known before (Lin); Student's interval, as the smaller arm "
                "was to expect {buyers} buyers, at least {least}.",
                buyers=round(self.expected_buyers),
                least=LEAST_BUYERS,
            )
        return say(
            "Regression adjustment on what was known before (Lin); interval by drawing the arms again, as the "
            "smaller arm was to expect {buyers} buyers, fewer than {least}.",
            buyers=round(self.expected_buyers),
            least=LEAST_BUYERS,
        )


@dataclass(frozen=True)
class Comparison:
    """One metric of an experiment: the effect per customer, and what is needed to compare parts of it."""

    effect: Effect
    variance_removed: float
    residuals: Array
    draws: Rerandomisation | None

    def find_profit(self, cost: float) -> Effect:
        """The total over the treated less a known ``cost``, tested against zero profit."""
        count = self.effect.n_treatment
        p_value = None
        if self.draws is not None and count:
            p_value = self.draws.find_p_value(cost / count)
        return self.effect.scale(count).shift(-cost, p_value=p_value)


def choose_method(experiment: Experiment, *, has_before: bool, seed: int) -> Method:
    """The method by the rule above; expected buyers from orders before, assuming Poisson visits.

    Without a period before, the share who bought in the window, over both sides, stands in.
    """
    if has_before:
        share = float((1 - np.exp(-np.maximum(experiment.before[:, 0], 0.0))).mean())
    else:
        share = float((experiment.outcomes["orders"] > 0).mean())
    buyers = share * min(experiment.n_treatment, experiment.n_control)
    kind: Kind = "weighted" if experiment.varies else "student" if buyers >= LEAST_BUYERS else "rerandomised"
    kind = kind if experiment.cluster is None else "clustered"
    return Method(kind, buyers, share, seed)


def compare(experiment: Experiment, outcome: Array, *, method: Method, name: str) -> Comparison:
    """First side minus second for ``outcome`` (n,), per customer; ``name`` seeds the re-draws."""
    adjusted = compare_with_covariates(
        outcome, experiment.treated, experiment.before, groups=experiment.group
    )
    if method.kind == "weighted":
        effect = compare_weighted(adjusted.residuals, experiment.treated, experiment.own_probability)
        return Comparison(effect, adjusted.variance_removed, adjusted.residuals, None)
    if method.kind == "clustered" and experiment.cluster is not None:
        effect = compare_by_clusters(adjusted.residuals, experiment.treated, experiment.cluster)
        return Comparison(effect, adjusted.variance_removed, adjusted.residuals, None)
    if method.kind == "student":
        return Comparison(adjusted.effect, adjusted.variance_removed, adjusted.residuals, None)
    return _compare_by_draws(experiment, adjusted, method, name)


def compare_part(
    experiment: Experiment, residuals: Array, rows: Flags, *, method: Method, name: str
) -> Comparison | None:
    """The same for the customers ``rows`` (n,), from the residuals of the whole; None unless 2 are on each
    side.
    """
    treated = experiment.treated[rows]
    if min(int(treated.sum()), int((~treated).sum())) < 2:
        return None
    values, groups = residuals[rows], experiment.group[rows]
    if method.kind == "weighted":
        effect = compare_weighted(values, treated, experiment.own_probability[rows])
        return Comparison(effect, 0.0, values, None)
    if method.kind == "clustered" and experiment.cluster is not None:
        clusters = experiment.cluster[rows]
        if min(len(np.unique(clusters[treated])), len(np.unique(clusters[~treated]))) < 2:
            return None
        return Comparison(compare_by_clusters(values, treated, clusters), 0.0, values, None)
    arms = find_group_moments(values, treated, groups)
    if not arms:
        return None
    effect = compare_strata(arms, method="regression-adjusted, welch t")
    draws = None
    # A part of a large experiment may be small: every part is judged by its own size.
    small = method.buyer_share * min(effect.n_treatment, effect.n_control) < LEAST_BUYERS
    if small and min(effect.n_treatment, effect.n_control) >= LEAST_ARM:
        draws = _draw(values, treated, experiment.stratum[rows], groups, method, name, 1000)
    if draws is not None:
        effect = draws.to_effect(method="regression-adjusted, re-randomised")
    return Comparison(effect, 0.0, values, draws)


def _compare_by_draws(experiment: Experiment, adjusted: Adjustment, method: Method, name: str) -> Comparison:
    effect, draws = adjusted.effect, None
    if min(effect.n_treatment, effect.n_control) >= LEAST_ARM:
        draws = _draw(
            adjusted.residuals, experiment.treated, experiment.stratum, experiment.group, method, name, 2000
        )
    if draws is not None:
        label = effect.method.removesuffix(", welch t")
        effect = draws.to_effect(method=f"{label}, re-randomised", level=LEVEL)
    return Comparison(effect, adjusted.variance_removed, adjusted.residuals, draws)


def _draw(
    values: Array,
    treated: Flags,
    strata: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    groups: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    method: Method,
    name: str,
    repetitions: int,
) -> Rerandomisation | None:
    return rerandomise(
        values,
        treated,
        generator=generator(method.seed, "rerandomise", name),
        strata=strata,
        groups=groups,
        repetitions=min(repetitions, max(500, _MOST_DRAWS // max(1, len(values)))),
    )
