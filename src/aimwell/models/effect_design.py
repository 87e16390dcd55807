"""The features of an effect: which customer, which action, as one row of numbers in named blocks.

The hierarchy: one mean effect; deviations of offers, channels and actions; of customer features (and pairs of
them); of channel × feature and offer × feature. An action that was tried seldom borrows from its offer and its
channel, a customer from those alike. Pure: reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from aimwell.models.block_ridge import Block

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CLIP = 3.0
PAIRED = 4
"""How many features (affinity, then the first ones) enter as products with each other."""


@dataclass(frozen=True)
class ActionSet:
    """A actions: ``ids``, and for each the place of its offer and channel in ``offer_names``, ``channel_names``."""

    ids: tuple[str, ...]
    offers: Integers
    channels: Integers
    offer_names: tuple[str, ...]
    channel_names: tuple[str, ...]

    @classmethod
    def from_pairs(cls, pairs: dict[str, tuple[str, str]]) -> ActionSet:
        """From action id → (offer, channel), in sorted order."""
        ids = tuple(sorted(pairs))
        offers = tuple(sorted({offer for offer, _ in pairs.values()}))
        channels = tuple(sorted({channel for _, channel in pairs.values()}))
        return cls(
            ids,
            np.array([offers.index(pairs[name][0]) for name in ids], dtype=np.int64),
            np.array([channels.index(pairs[name][1]) for name in ids], dtype=np.int64),
            offers,
            channels,
        )

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class CustomerFeatures:
    """What an effect may depend on: ``modifiers`` (n × J, most telling first), ``affinity`` (n × offers).

    Affinity is how much more the customer buys of the offer's department than others do; NaN: not known. ``size`` (n,
    above 0, 1 on average; None: all alike) is what effects are taken to be in proportion to: on money, how much the
    customer spends at a time. Without it the few large customers, whose noise is large too, would hardly count,
    and the mean effect on money would come out low (measured: 45 % low on simulated rounds).
    """

    modifiers: Floats
    affinity: Floats
    size: Floats | None = None

    def __len__(self) -> int:
        return len(self.modifiers)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> CustomerFeatures:
        """The same for some rows."""
        size = None if self.size is None else self.size[rows]
        return CustomerFeatures(self.modifiers[rows], self.affinity[rows], size)


@dataclass(frozen=True)
class Scaling:
    """Centre and spread of columns, found on the experiments and used for everybody."""

    centre: Floats
    spread: Floats

    @classmethod
    def fit(cls, values: Floats) -> Scaling:
        """From n × k values; columns that do not vary get spread 1."""
        known = np.where(np.isfinite(values), values, np.nan)
        counted = np.maximum(np.sum(np.isfinite(known), axis=0), 1)
        centre = np.nansum(known, axis=0) / counted
        spread = np.sqrt(np.nansum((known - centre) ** 2, axis=0) / counted)
        return cls(centre, np.where(spread > 1e-12, spread, 1.0))

    def apply(self, values: Floats) -> Floats:
        """Centred, scaled, cut at ± 3; what is not known becomes the mean."""
        scaled = (np.where(np.isfinite(values), values, np.nan) - self.centre) / self.spread
        return np.asarray(np.clip(np.nan_to_num(scaled, nan=0.0), -CLIP, CLIP))


@dataclass(frozen=True)
class EffectDesign:
    """Turns customers and actions into rows of P features, and knows their blocks."""

    actions: ActionSet
    modifiers: Scaling
    affinity: Scaling

    @classmethod
    def fit(cls, features: CustomerFeatures, actions: ActionSet) -> EffectDesign:
        """Scale by the customers of the experiments. Affinity is scaled over all offers together."""
        pooled = Scaling.fit(features.affinity.reshape(-1, 1))
        return cls(actions, Scaling.fit(features.modifiers), pooled)

    def scale(self, features: CustomerFeatures) -> CustomerFeatures:
        """The features in the scale of the design."""
        return CustomerFeatures(
            self.modifiers.apply(features.modifiers), self.affinity.apply(features.affinity), features.size
        )

    def build(self, scaled: CustomerFeatures, action: Integers) -> Floats:
        """φ (n × P) for customers of ``scale`` and the place of one action each (n)."""
        rows = np.arange(len(scaled))
        offer, channel = self.actions.offers[action], self.actions.channels[action]
        traits = np.column_stack([scaled.affinity[rows, offer], scaled.modifiers])
        parts = [
            np.ones((len(rows), 1)),
            *self._mark(action, offer, channel),
            traits,
            _multiply_pairs(traits),
        ]
        for marks, count in (
            (channel, len(self.actions.channel_names)),
            (offer, len(self.actions.offer_names)),
        ):
            if count > 1:
                crossed = np.eye(count)[marks][:, :, None] * traits[:, None, :]
                parts.append(crossed.reshape(len(rows), -1))
        built = np.hstack(parts)
        return built if scaled.size is None else built * scaled.size[:, None]

    def _mark(self, action: Integers, offer: Integers, channel: Integers) -> list[Floats]:
        offers, channels = len(self.actions.offer_names), len(self.actions.channel_names)
        marks = []
        if offers > 1:
            marks.append(np.eye(offers)[offer])
        if channels > 1:
            marks.append(np.eye(channels)[channel])
        if offers > 1 and channels > 1:
            marks.append(np.eye(len(self.actions))[action])
        return marks

    def list_blocks(self, level: float) -> tuple[Block, ...]:
        """The blocks with their prior scales; ``level`` is the size that a mean effect may well have."""
        offers, channels = len(self.actions.offer_names), len(self.actions.channel_names)
        traits = len(self.modifiers.centre) + 1
        sizes = [
            ("mean", 1, level, True),
            ("offer", offers if offers > 1 else 0, 0.3 * level, False),
            ("channel", channels if channels > 1 else 0, 0.3 * level, False),
            ("action", len(self.actions) if offers > 1 and channels > 1 else 0, 0.15 * level, False),
            ("feature", traits, 0.15 * level, False),
            ("pairs", len(list(combinations(range(min(traits, PAIRED)), 2))), 0.08 * level, False),
            ("channel × feature", channels * traits if channels > 1 else 0, 0.08 * level, False),
            ("offer × feature", offers * traits if offers > 1 else 0, 0.08 * level, False),
        ]
        blocks, start = [], 0
        for name, size, scale, fixed in sizes:
            if size:
                blocks.append(Block(name, start, start + size, scale, fixed))
            start += size
        return tuple(blocks)


def _multiply_pairs(traits: Floats) -> Floats:
    pairs = list(combinations(range(min(traits.shape[1], PAIRED)), 2))
    if not pairs:
        return np.zeros((len(traits), 0))
    return np.column_stack(
        [np.clip(traits[:, left] * traits[:, right], -CLIP, CLIP) for left, right in pairs]
    )
