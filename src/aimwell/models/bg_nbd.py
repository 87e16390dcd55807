"""BG/NBD: how often a customer will buy, and whether they still do.

While active a customer buys as a Poisson process with rate λ ~ Gamma(r, α); after each repeat purchase they
leave for good with probability p ~ Beta(a, b). Customers with equal (x, t_x, T) are counted once, and the
gradient is analytic: a million customers take about a second.

Source: Fader, Hardie and Lee (2005), "Counting your customers the easy way". Pure: reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, digamma, gammaln, hyp2f1

from aimwell.core.errors import NotReady
from aimwell.core.text import say

Floats = NDArray[np.float64]

BOUND = 9.0
"""Logarithms of parameters stay within ± this. Rates that end there are not determined by the data; a or b that do
say that hardly anybody leaves, which is an answer."""


@dataclass(frozen=True)
class PurchaseHistory:
    """Per customer (n): repeat purchases ``x``, time of the last one ``t_x``, time observed ``T``; any one unit."""

    x: Floats
    t_x: Floats
    T: Floats

    def __len__(self) -> int:
        return len(self.x)

    def compress(self) -> tuple[PurchaseHistory, Floats, NDArray[np.int64]]:
        """Unique rows, how many customers each has, and the row of each customer."""
        rows = np.column_stack([self.x, self.t_x, self.T])
        unique, inverse, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        found = PurchaseHistory(unique[:, 0], unique[:, 1], unique[:, 2])
        return found, counts.astype(float), np.asarray(inverse.reshape(-1), dtype=np.int64)


@dataclass(frozen=True)
class BgNbd:
    """Fitted parameters, log-likelihood, and the covariance (4 × 4) of the logarithms of r, α, a, b."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float
    log_covariance: Floats

    @property
    def parameters(self) -> dict[str, float]:
        """By name."""
        return {"r": self.r, "alpha": self.alpha, "a": self.a, "b": self.b}

    def predict_purchases(self, history: PurchaseHistory, horizon: float) -> Floats:
        """E[purchases in (T, T + horizon]] per customer (n); equation 10 of the paper."""
        r, alpha, b = self.r, self.alpha, self.b
        # Equation 10 divides by a − 1, whose limit is finite.
        a = self.a if abs(self.a - 1) > 1e-6 else 1 + 1e-6
        x, T = history.x, history.T
        ratio = horizon / (alpha + T + horizon)
        series = hyp2f1(r + x, b + x, a + b + x - 1, ratio)
        decay = np.exp((r + x) * (np.log(alpha + T) - np.log(alpha + T + horizon)))
        expected = (a + b + x - 1) / (a - 1) * (1 - decay * series)
        return np.asarray(np.maximum(expected * self.predict_alive(history), 0.0))

    def predict_alive(self, history: PurchaseHistory) -> Floats:
        """P(still active at T) per customer (n); 1 for those without repeat purchase, as the model has it."""
        x, t_x, T = history.x, history.t_x, history.T
        log_odds = (
            np.log(self.a)
            - np.log(np.maximum(self.b + x - 1, 1e-300))
            + (self.r + x) * (np.log(self.alpha + T) - np.log(self.alpha + t_x))
        )
        left = np.where(x > 0, np.exp(np.minimum(log_odds, 700.0)), 0.0)
        return np.asarray(1 / (1 + left))

    def draw_parameters(self, random: np.random.Generator, draws: int) -> list[BgNbd]:
        """Parameter sets as uncertain as the data leave them."""
        middle = np.log([self.r, self.alpha, self.a, self.b])
        logs = random.multivariate_normal(middle, self.log_covariance, size=draws, method="eigh")
        bounded = np.exp(np.clip(logs, -BOUND, BOUND))
        return [
            BgNbd(float(r), float(alpha), float(a), float(b), self.log_likelihood, self.log_covariance)
            for r, alpha, a, b in bounded
        ]

    def draw_purchases(self, history: PurchaseHistory, horizon: float, random: np.random.Generator) -> Floats:
        """One possible future per customer (n), exactly from the posterior of λ, p and being active."""
        alive = random.random(len(history)) < self.predict_alive(history)
        rate = random.gamma(self.r + history.x) / (self.alpha + history.T)
        leaving = random.beta(self.a, self.b + history.x)
        purchases = random.poisson(rate * horizon)
        stays = random.geometric(np.clip(leaving, 1e-9, 1.0))
        return np.where(alive, np.minimum(purchases, stays), 0).astype(float)


def fit_bg_nbd(history: PurchaseHistory) -> BgNbd:
    """Maximum likelihood by L-BFGS on logarithms; NotReady when the rates are not determined."""
    rows, counts, _ = history.compress()
    scale = max(float(np.average(rows.T, weights=counts)) / 10, 1e-9)
    start = np.array([0.0, np.log(scale), 0.0, np.log(3.0)])
    total = counts.sum()

    def measure(logs: Floats) -> tuple[float, Floats]:
        value, slope = compute_log_likelihood(logs, rows, counts)
        return -value / total, -slope / total

    found = minimize(
        measure,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-BOUND, BOUND)] * 4,
        options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-8},
    )
    if np.any(np.abs(found.x[:2]) > BOUND - 0.01) or not np.isfinite(found.fun):
        raise NotReady(
            "models.clv_did_not_converge",
            say("The purchase histories do not determine how often customers buy and when they leave."),
            remedy=say("Load a longer period, with customers who bought more than once."),
        )
    r, alpha, a, b = map(float, np.exp(found.x))
    return BgNbd(r, alpha, a, b, float(-found.fun * total), _invert_curvature(found.x, rows, counts))


def compute_log_likelihood(logs: Floats, rows: PurchaseHistory, counts: Floats) -> tuple[float, Floats]:
    """Log-likelihood and its gradient (4) at the logarithms of r, α, a, b."""
    r, alpha, a, b = np.exp(logs)
    x, t_x, T = rows.x, rows.t_x, rows.T
    repeat = x > 0
    later = np.maximum(b + x - 1, 1e-300)
    stay = -(r + x) * np.log(alpha + T)
    leave = np.where(repeat, np.log(a) - np.log(later) - (r + x) * np.log(alpha + t_x), -np.inf)
    mixed = np.logaddexp(stay, leave)
    left = np.where(repeat, np.exp(leave - mixed), 0.0)
    kept = 1 - left
    value = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b) + mixed
    slopes = np.array(
        [
            digamma(r + x)
            - digamma(r)
            + np.log(alpha)
            - kept * np.log(alpha + T)
            - left * np.log(alpha + t_x),
            r / alpha - (r + x) * (kept / (alpha + T) + left / (alpha + t_x)),
            digamma(a + b) - digamma(a + b + x) + left / a,
            digamma(b + x)
            - digamma(a + b + x)
            - digamma(b)
            + digamma(a + b)
            - np.where(repeat, left / later, 0.0),
        ]
    )
    return float(counts @ value), (slopes @ counts) * np.array([r, alpha, a, b])


def _invert_curvature(logs: Floats, rows: PurchaseHistory, counts: Floats, step: float = 1e-4) -> Floats:
    """Covariance of the logarithms: the inverse of the curvature, from differences of the gradient."""
    curvature = np.zeros((4, 4))
    for place in range(4):
        shift = np.zeros(4)
        shift[place] = step
        upper = compute_log_likelihood(logs + shift, rows, counts)[1]
        lower = compute_log_likelihood(logs - shift, rows, counts)[1]
        curvature[place] = -(upper - lower) / (2 * step)
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    # A direction that the data leave flat is as uncertain as a factor of e, not infinitely.
    return np.asarray((vectors / np.maximum(values, 1.0)) @ vectors.T)
