"""The share of treated customers who redeem an offer, per action and, where supported, per customer.

Rates of actions are shrunk to their offer's, offers' to the overall rate (beta-binomial, moments); a logistic
slope on customer features is kept only if a likelihood-ratio test supports it. Pure: reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from aimwell.models.effect_design import ActionSet, CustomerFeatures
from aimwell.models.logistic import fit_logistic
from aimwell.stats.distribution import find_chi_square_p_value

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

PRIOR_STRENGTH = 20.0
"""A group's rate starts as if this many customers had behaved like the wider group."""
SIGNIFICANCE = 0.01
RIDGE = 5.0


@dataclass(frozen=True)
class RedemptionModel:
    """``rates`` (A) of the actions, and the logistic ``slopes`` (features) on scaled features; zeros: unsupported."""

    actions: ActionSet
    rates: Floats
    slopes: Floats

    def predict(self, scaled: CustomerFeatures, places: Integers) -> Floats:
        """P(redeem | treated), n × len(places)."""
        columns = []
        for place in places:
            traits = _build_traits(scaled, self.actions.offers[place])
            columns.append(expit(logit(self.rates[place]) + traits @ self.slopes))
        return np.column_stack(columns) if columns else np.zeros((len(scaled), 0))


def fit_redemption(
    actions: ActionSet, action: Integers, scaled: CustomerFeatures, redeemed: Flags, *, treated: Flags
) -> RedemptionModel:
    """Learn from treated rows; ``action`` (n) is the place of the action, −1 unknown."""
    rows = treated & (action >= 0)
    overall = (float(redeemed[rows].sum()) + 0.5) / (float(rows.sum()) + 10.0)
    rates = np.zeros(len(actions))
    for place in range(len(actions)):
        offer_rows = rows & (actions.offers[np.maximum(action, 0)] == actions.offers[place])
        offer_rate = _shrink(redeemed[offer_rows], overall)
        rates[place] = _shrink(redeemed[rows & (action == place)], offer_rate)
    slopes = _fit_slopes(actions, action[rows], scaled.take(rows), redeemed[rows], rates)
    return RedemptionModel(actions, rates, slopes)


def _shrink(redeemed: Flags, towards: float) -> float:
    return (float(redeemed.sum()) + PRIOR_STRENGTH * towards) / (len(redeemed) + PRIOR_STRENGTH)


def _build_traits(scaled: CustomerFeatures, offers: Integers | np.int64) -> Floats:
    affinity = scaled.affinity[np.arange(len(scaled)), offers]
    return np.column_stack([affinity, scaled.modifiers])


def _fit_slopes(
    actions: ActionSet, action: Integers, scaled: CustomerFeatures, redeemed: Flags, rates: Floats
) -> Floats:
    """A ridge logistic regression with the actions' rates as offset."""
    width = scaled.modifiers.shape[1] + 1
    if redeemed.sum() < 10 * np.sqrt(width):
        return np.zeros(width)
    traits = _build_traits(scaled, actions.offers[action])
    offset = logit(rates[action])
    found = fit_logistic(traits, redeemed, penalty=RIDGE, offset=offset)
    gained = _likelihood(offset + found[0] + traits @ found[1:], redeemed) - _likelihood(offset, redeemed)
    chance = find_chi_square_p_value(max(2 * gained, 0.0), width + 1)
    return found[1:] if chance < SIGNIFICANCE else np.zeros(width)


def _likelihood(score: Floats, redeemed: Flags) -> float:
    return float(np.sum(np.where(redeemed, -np.logaddexp(0, -score), -np.logaddexp(0, score))))
