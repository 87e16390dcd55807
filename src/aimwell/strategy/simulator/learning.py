"""What a policy learns from all rounds so far: a Bayesian ridge on sums, so that a round is forgotten once added.

Rows are customers × rounds: an outcome, habits (which explain what happens without contact), and for the message
that was sent shared and per-action coefficients. Blocks of coefficients share a prior variance, found from the data
(empirical Bayes: MacKay 1992, "Bayesian Interpolation"), so an action that was tried seldom keeps near the mean of all.
Reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aimwell.strategy.problem import Flags, Integers, Reals

SWEEPS = 6
CONFIDENCE = 4.0
"""Coefficients that a block's prior variance counts as."""


@dataclass(frozen=True)
class Prior:
    """What is assumed before any data; in units of the outcome."""

    mean: float
    """Of the effect of a message of any action."""
    action: float
    """Standard deviation of an action's effect around that of all."""
    trait: float
    """Standard deviation of what one standard deviation of a trait changes."""
    noise: float
    """Standard deviation of the outcome."""


class Learner:
    """Linear effects of a actions with t traits, and h habits beside them, from sums of squares."""

    def __init__(self, *, actions: int, traits: int, habits: int, prior: Prior, memory: float = 1.0) -> None:
        """Nothing is known yet. ``memory``: what a round still weighs when the next is added (1: for ever)."""
        self.memory = memory
        self.actions, self.traits, self.habits, self.prior = actions, traits, habits, prior
        self.width = habits + (1 + traits) * (1 + actions)
        self._gram = np.zeros((self.width, self.width))
        self._moment = np.zeros(self.width)
        self._square, self._rows = 0.0, 0.0
        self._owner = np.repeat(np.arange(5), [habits, 1, traits, actions, actions * traits])
        # The effect of all: its own prior; an action's part of it: the others.
        self._start = np.array([9.0, prior.action, prior.trait, prior.action, prior.trait]) ** 2
        self._start[0] *= prior.noise**2
        self.mean = np.zeros(self.width)
        self.mean[habits] = prior.mean
        self.covariance = np.diag(self._start[self._owner])
        self.noise = prior.noise
        """Standard deviation of an outcome of weight 1, as far as it is known."""

    def add(
        self, outcome: Reals, habits: Reals, traits: Reals, action: Integers, weight: Reals | None = None
    ) -> None:
        """Add a round: outcome (n), habits (n × h), traits of the message (n × t), its action (n; −1: none).

        ``weight`` (n; mean about 1): inverse variances of the outcomes, up to a factor.
        """
        rows = self._build(habits, traits, action)
        weighted = rows if weight is None else rows * weight[:, None]
        scaled = outcome if weight is None else outcome * weight
        self._gram = self.memory * self._gram + weighted.T @ rows
        self._moment = self.memory * self._moment + weighted.T @ outcome
        self._square = self.memory * self._square + float(scaled @ outcome)
        self._rows = self.memory * self._rows + len(outcome)

    def learn(self) -> None:
        """Find prior variances and noise, and from them mean and covariance of all coefficients."""
        centre = np.zeros(self.width)
        centre[self.habits] = self.prior.mean
        variances, noise = self._start.copy(), self.prior.noise**2
        sizes = np.bincount(self._owner, minlength=5)
        for _ in range(SWEEPS):
            precision = self._gram / noise + np.diag(1 / variances[self._owner])
            self.covariance = np.linalg.inv(precision)
            self.mean = centre + self.covariance @ ((self._moment - self._gram @ centre) / noise)
            deviations = (self.mean - centre) ** 2 + np.diag(self.covariance)
            total = np.bincount(self._owner, weights=deviations, minlength=5)
            found = (total + CONFIDENCE * self._start) / (sizes + CONFIDENCE)
            # How large habits and the effect of all are is not for the data to say: they stand alone.
            variances[2:] = found[2:]
            left = self._square - 2 * self.mean @ self._moment + self.mean @ self._gram @ self.mean
            noise = max(float(left + 10 * self.prior.noise**2) / (self._rows + 10), 1e-9)
        self.noise = float(np.sqrt(noise))

    def predict(self, traits: Reals) -> Reals:
        """Expected effect of every action: n × a, from the traits of each message (n × a × t)."""
        return self._apply(self.mean[:, None], traits)[:, :, 0]

    def predict_habit(self, habits: Reals) -> Reals:
        """Expected outcome without contact (n)."""
        return np.asarray(habits @ self.mean[: self.habits])

    def draw(self, traits: Reals, random: np.random.Generator, count: int) -> Reals:
        """``count`` draws of the effects from the posterior: n × a × count."""
        part = self.covariance[self.habits :, self.habits :]
        root = np.linalg.cholesky(part + 1e-12 * np.trace(part) * np.eye(len(part)))
        drawn = np.zeros((self.width, count))
        drawn[self.habits :] = self.mean[self.habits :, None] + root @ random.standard_normal(
            (len(part), count)
        )
        return self._apply(drawn, traits)

    def _apply(self, coefficients: Reals, traits: Reals) -> Reals:
        h, t, a = self.habits, self.traits, self.actions
        shared, slopes = coefficients[h], coefficients[h + 1 : h + 1 + t]
        own = coefficients[h + 1 + t : h + 1 + t + a]
        own_slopes = coefficients[h + 1 + t + a :].reshape(a, t, -1)
        return np.asarray(shared + own + np.einsum("nat,atk->nak", traits, slopes[None] + own_slopes))

    def _build(self, habits: Reals, traits: Reals, action: Integers) -> Reals:
        sent: Flags = action >= 0
        n, t, a = len(action), self.traits, self.actions
        marks = np.zeros((n, a))
        marks[sent, action[sent]] = 1.0
        own = (marks[:, :, None] * traits[:, None, :]).reshape(n, a * t)
        return np.hstack([habits, sent[:, None].astype(float), traits * sent[:, None], marks, own])
