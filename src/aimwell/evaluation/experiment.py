"""An experiment as arrays: two sides, the chance of the first, what was observed and what was known before.

Reads and writes no table: it is made of the rows of ``outcomes.query_outcomes``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.int64]
OUTCOMES = ("orders", "revenue", "contribution")
_SAME = 1e-6
_BY_CUSTOMER = (
    "customer_id",
    "action_id",
    "treated",
    "share",
    "own_probability",
    "stratum",
    "group",
    "before",
    "offer_cost",
    "contact_cost",
    "reached",
)


@dataclass(frozen=True)
class Experiment:
    """n customers of two sides; all arrays have shape (n,). Money in the business's currency."""

    customer_id: NDArray[np.object_]
    action_id: NDArray[np.object_]
    treated: Flags
    share: Array
    """Chance of the first side for this customer, given that it was one of the two; from the logged
    probabilities.
    """
    own_probability: Array
    stratum: Codes
    group: Codes
    """Customers with the same ``share``: within a group the sides are comparable."""
    varies: bool
    """The chance differs inside a stratum: comparison needs inverse probabilities."""
    outcomes: Mapping[str, Array]
    before: Array
    """Shape (n, 3): orders, revenue and contribution of the covariate period, scaled."""
    offer_cost: Array
    contact_cost: Array
    reached: Flags
    left_out: int
    """Customers whose stratum has no other side to be compared with."""
    cluster: Codes | None = None
    """What was drawn as a whole, such as a store; None: each customer alone."""

    @property
    def n(self) -> int:
        """Customers on both sides."""
        return len(self.treated)

    @property
    def n_treatment(self) -> int:
        """Customers on the first side."""
        return int(self.treated.sum())

    @property
    def n_control(self) -> int:
        """Customers on the second side."""
        return self.n - self.n_treatment

    def keep(self, rows: Flags) -> Experiment:
        """The same for the customers ``rows`` (n,)."""
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in _BY_CUSTOMER},
            outcomes={name: values[rows] for name, values in self.outcomes.items()},
            cluster=None if self.cluster is None else self.cluster[rows],
        )

    @property
    def contact_total(self) -> float:
        """What contacting the first side cost."""
        return float(self.contact_cost[self.treated].sum())


def build_experiment(
    observed: pa.Table, *, treatment: tuple[str, ...], control: tuple[str, ...], intended: bool = True
) -> Experiment:
    """The experiment of arms ``treatment`` against arms ``control``; only customers with an action if
    ``intended``.
    """
    keep = pc.is_in(observed.column("arm"), value_set=pa.array([*treatment, *control]))
    if intended:
        keep = pc.and_(keep, pc.is_valid(observed.column("action_id")))
    table = observed.filter(keep)
    arm = table.column("arm").to_numpy(zero_copy_only=False)
    treated = np.isin(arm.astype(str), treatment) if len(arm) else np.zeros(0, dtype=bool)
    probability = _read(table, "probability")
    stratum = _encode(table.column("stratum").to_numpy(zero_copy_only=False))
    share, varies = _find_shares(arm, treated, probability, stratum)
    known = ~np.isnan(share)
    group = _encode(np.round(share[known], 6))
    return Experiment(
        customer_id=table.column("customer_id").to_numpy(zero_copy_only=False)[known],
        action_id=table.column("action_id").to_numpy(zero_copy_only=False)[known],
        treated=treated[known],
        share=share[known],
        own_probability=probability[known],
        stratum=stratum[known],
        group=group,
        varies=varies,
        outcomes={name: _read(table, name)[known] for name in OUTCOMES},
        before=np.column_stack([_read(table, f"{name}_before")[known] for name in OUTCOMES]),
        offer_cost=_read(table, "offer_cost")[known],
        contact_cost=_read(table, "contact_cost")[known],
        reached=_read(table, "reached")[known] > 0,
        left_out=int((~known).sum()),
        cluster=_find_clusters(table.filter(pa.array(known)), treated[known]),
    )


def _find_clusters(table: pa.Table, treated: Flags) -> Codes | None:
    """Codes of what was drawn as a whole; None when customers were drawn one by one, or a cluster is on both sides."""
    unit = table.column("unit")
    if unit.null_count == len(unit):
        return None
    alone = pc.binary_join_element_wise(pa.scalar(""), table.column("customer_id"), pa.scalar("\x1f"))
    codes = _encode(pc.coalesce(unit, alone).to_numpy(zero_copy_only=False))
    share = np.bincount(codes, weights=treated) / np.bincount(codes)
    return codes if np.isin(share, (0.0, 1.0)).all() else None


def _read(table: pa.Table, name: str) -> Array:
    values: Array = table.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
    return values


def _encode(values: NDArray[np.generic]) -> Codes:
    return np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)


def _find_shares(
    arm: NDArray[np.object_], treated: Flags, probability: Array, stratum: Codes
) -> tuple[Array, bool]:
    """Per customer the chance of the first side (NaN: unknowable), and whether it varies inside strata."""
    sides: dict[int, list[float | None]] = {}
    varies = False
    for code in np.unique(stratum):
        inside = stratum == code
        found: list[float | None] = []
        for side in (treated, ~treated):
            # A side may be made of several arms: their chances add up.
            arms = [
                probability[inside & side & (arm == name)]
                for name in np.unique(arm[inside & side].astype(str))
            ]
            varies = varies or any(float(np.ptp(values)) > _SAME for values in arms)
            found.append(sum(float(values.mean()) for values in arms) if arms else None)
        sides[int(code)] = found
    shares = _complete_shares(sides)
    return np.array([shares[int(code)] for code in stratum], dtype=np.float64), varies


def _complete_shares(sides: dict[int, list[float | None]]) -> dict[int, float]:
    # A stratum in which nobody landed on one side takes that side's chance from a stratum drawn alike.
    pairs = [(one, two) for one, two in sides.values() if one is not None and two is not None]
    shares: dict[int, float] = {}
    for code, (one, two) in sides.items():
        if one is not None and two is None:
            two = next((q for p, q in pairs if abs(p - one) < _SAME), None)
        elif two is not None and one is None:
            one = next((p for p, q in pairs if abs(q - two) < _SAME), None)
        shares[code] = one / (one + two) if one is not None and two is not None else float("nan")
    return shares
