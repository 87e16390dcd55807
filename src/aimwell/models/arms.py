"""Effects from an experiment with several arms whose customers are described by columns of a table.

Each arm is compared with the control by the R-learner of ``effects``; ``predict_outcomes`` says what each arm is
expected to bring, for doubly robust values. Pure: reads and writes no table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimwell.models.baseline import expand_basis
from aimwell.models.effect_design import ActionSet, CustomerFeatures
from aimwell.models.effects import EffectData, EffectModel, learn_effects

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
MOST_VALUES = 8
"""More values of a text than this are taken together: an effect for a handful of people is noise."""
PENALTY = 10.0


@dataclass(frozen=True)
class ArmRows:
    """n customers of an experiment: ``arm`` counts the actions from 0, the control is the last number."""

    traits: Floats
    """n × J, known before; NaN where not known."""
    outcome: Floats
    """Money."""
    arm: Integers
    actions: tuple[tuple[str, str, str], ...]
    """Action, offer and channel of each arm but the control."""

    def __len__(self) -> int:
        return len(self.outcome)

    @property
    def control(self) -> int:
        """The control's number."""
        return len(self.actions)

    def take(self, rows: Flags | Integers) -> ArmRows:
        """Some of the customers."""
        return ArmRows(self.traits[rows], self.outcome[rows], self.arm[rows], self.actions)


@dataclass(frozen=True)
class ArmModels:
    """One effect model for each action."""

    models: tuple[EffectModel, ...]

    def predict(self, traits: Floats) -> tuple[Floats, Floats]:
        """Effects and their standard errors, n × actions; money."""
        features = describe(traits)
        found = [model.predict(features) for model in self.models]
        return (
            np.column_stack([one.estimate[:, 0] for one in found]),
            np.column_stack([one.standard_error[:, 0] for one in found]),
        )

    @property
    def means(self) -> tuple[Floats, Floats]:
        """Each action's mean effect over the customers learnt from, and its standard error; money."""
        effects = [next(iter(model.effects.values())) for model in self.models]
        errors = [(effect.upper - effect.lower) / (2 * 1.96) for effect in effects]
        return np.array([effect.estimate for effect in effects]), np.array(errors)


def describe(traits: Floats) -> CustomerFeatures:
    """The traits as features of an effect; nothing is known of affinities."""
    return CustomerFeatures(traits, np.zeros((len(traits), 1)))


def learn_arms(rows: ArmRows, *, seed: int, repetitions: int = 100) -> ArmModels:
    """Each action against the control; NotReady when an arm is too small."""
    models = []
    for place, (action, offer, channel) in enumerate(rows.actions):
        part = rows.take((rows.arm == place) | (rows.arm == rows.control))
        treated = part.arm == place
        data = EffectData(
            actions=ActionSet.from_pairs({action: (offer, channel)}),
            outcome=part.outcome,
            treated=treated,
            probability=np.full(len(part), float(treated.mean()) if len(part) else 0.0),
            action=np.zeros(len(part), dtype=np.int64),
            features=describe(part.traits),
            covariates=part.traits,
            customer=np.arange(len(part)),
            redeemed=np.zeros(len(part), dtype=np.bool_),
        )
        models.append(learn_effects(data, seed=seed, repetitions=repetitions))
    return ArmModels(tuple(models))


def predict_outcomes(rows: ArmRows, learn: Flags) -> Floats:
    """What every customer is expected to bring under each arm (n × arms, the control last), from ``learn`` rows."""
    basis = expand_basis(rows.traits)
    found = np.zeros((len(rows), rows.control + 1))
    for place in range(rows.control + 1):
        mine = learn & (rows.arm == place)
        weights = np.full(basis.shape[1], PENALTY)
        weights[0] = 1e-9
        gram = basis[mine].T @ basis[mine] + np.diag(weights)
        found[:, place] = basis @ np.linalg.solve(gram, basis[mine].T @ rows.outcome[mine])
    return found


def encode_traits(columns: Sequence[Sequence[str | None]]) -> Floats:
    """Columns of text as numbers (n × J): numbers where all are, else a mark for each of the commonest values."""
    parts = [_encode(values) for values in columns]
    return np.column_stack(parts) if parts else np.zeros((0, 0))


def _encode(values: Sequence[str | None]) -> Floats:
    numbers = [_read_number(value) for value in values]
    known = [value for value in values if value is not None and value.strip()]
    if known and not any(
        value is not None and value.strip() and n is None for value, n in zip(values, numbers, strict=True)
    ):
        return np.array([np.nan if number is None else number for number in numbers])[:, None]
    names, counts = np.unique(np.array(known, dtype=np.str_), return_counts=True)
    common = names[np.lexsort((names, -counts))][:MOST_VALUES]
    # The commonest is what the others are compared with.
    marks = [np.array([float(value == name) for value in values]) for name in common[1:]]
    return np.column_stack(marks) if marks else np.zeros((len(values), 0))


def _read_number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None and value.strip() else None
    except ValueError:
        return None
    return number if number is None or np.isfinite(number) else None
