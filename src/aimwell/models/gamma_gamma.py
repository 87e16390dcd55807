"""Gamma–Gamma: what an order of a customer is worth, drawn towards the average where few orders are known.

An order's value is Gamma(p, ν) with ν ~ Gamma(q, γ) over customers. Source: Fader and Hardie (2013), "The
Gamma-Gamma model of monetary value". Pure: reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from aimwell.core.errors import NotReady
from aimwell.core.text import say

Floats = NDArray[np.float64]

BOUND = 15.0


@dataclass(frozen=True)
class GammaGamma:
    """Fitted p, q and γ (in money), and the log-likelihood."""

    p: float
    q: float
    gamma: float
    log_likelihood: float

    @property
    def parameters(self) -> dict[str, float]:
        """By name."""
        return {"p": self.p, "q": self.q, "gamma": self.gamma}

    def predict_value(self, orders: Floats, mean_value: Floats) -> Floats:
        """Expected value of an order per customer (n), money; customers without order get the average."""
        weight = self.p * orders + self.q - 1
        return np.asarray(self.p * (self.gamma + orders * np.nan_to_num(mean_value)) / weight)

    def draw_value(self, orders: Floats, mean_value: Floats, random: np.random.Generator) -> Floats:
        """One possible true mean value per customer (n), from the posterior of ν."""
        shape = self.p * orders + self.q
        rate = self.gamma + orders * np.nan_to_num(mean_value)
        return np.asarray(self.p * rate / random.gamma(shape))


def fit_gamma_gamma(orders: Floats, mean_value: Floats) -> GammaGamma:
    """Maximum likelihood over customers with ``orders`` ≥ 1 and a positive ``mean_value`` (both n).

    NotReady when there are fewer than 10 of them, or the mean of the fitted values would be infinite.
    """
    usable = (orders > 0) & (mean_value > 0)
    x, z = orders[usable].astype(float), mean_value[usable].astype(float)
    if len(x) < 10:
        raise _refuse()
    unit = float(np.mean(z))
    found = minimize(
        _measure,
        np.array([0.5, 0.7, 0.5]),
        args=(x, z / unit),
        jac=True,
        method="L-BFGS-B",
        # Above q = 1 only: otherwise the average order would be infinite.
        bounds=[(-BOUND, BOUND), (0.02, BOUND), (-BOUND, BOUND)],
        options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8},
    )
    if not np.isfinite(found.fun):
        raise _refuse()
    p, q, scaled = map(float, np.exp(found.x))
    likelihood = -float(found.fun) * len(x) - len(x) * float(np.log(unit))
    return GammaGamma(p, q, scaled * unit, likelihood)


def _measure(logs: Floats, x: Floats, z: Floats) -> tuple[float, Floats]:
    """Minus the mean log-likelihood, and its gradient, at the logarithms of p, q, γ."""
    p, q, gamma = np.exp(logs)
    px, spent = p * x, x * z
    value = (
        gammaln(px + q)
        - gammaln(px)
        - gammaln(q)
        + q * np.log(gamma)
        + (px - 1) * np.log(z)
        + px * np.log(x)
        - (px + q) * np.log(gamma + spent)
    )
    slope_p = x * (digamma(px + q) - digamma(px) + np.log(spent) - np.log(gamma + spent))
    slope_q = digamma(px + q) - digamma(q) + np.log(gamma) - np.log(gamma + spent)
    slope_gamma = q / gamma - (px + q) / (gamma + spent)
    slopes = np.array([slope_p.mean() * p, slope_q.mean() * q, slope_gamma.mean() * gamma])
    return -float(value.mean()), -slopes


def _refuse() -> NotReady:
    return NotReady(
        "models.no_order_values",
        say("The values of the orders do not determine what an order of a customer is worth."),
        remedy=say("Load order lines with revenue."),
    )
