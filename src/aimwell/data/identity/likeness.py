"""Who is joined by likeness: the whole probabilistic way, from records to links with probability and evidence.

One configuration for all data: nothing is tuned to a set, and no labels are looked at. Reads records; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimwell.data.identity.backend import open_backend
from aimwell.data.identity.clustering import Floats, Integers, find_components, join_groups
from aimwell.data.identity.comparisons import Comparison
from aimwell.data.identity.probabilistic import Scored, compare, find_rarity, learn
from aimwell.engine.settings import EngineSettings

FIRST_BITS = 3.2
"""Odds of 9 to 1: what counts as one person while rare values are still counted by records."""
LEAST_PROBABILITY = 0.95
"""From which probability on a pair starts to join; its groups must agree on balance as well.

A wrong join costs more than a missed one: what is one person's is shown and sent to another.
"""
_SHOWN_BITS = 0.3


@dataclass(frozen=True)
class Likeness:
    """What was found: pairs of places that join, their probability, and the model that says so.

    ``expected_precision`` is the mean probability of the pairs that are joined and were compared;
    ``expected_matches`` how many pairs of one person the model believes to exist.
    """

    scored: Scored
    left: Integers
    right: Integers
    held: NDArray[np.bool_]
    levels: NDArray[np.int8]
    persons: Integers
    expected_precision: float
    expected_matches: float
    candidates: int

    def explain(self, pair: int) -> dict[str, Any]:
        """The waterfall of one pair as JSON-able evidence: bits per comparison, and of the prior."""
        model = self.scored.model
        parts = [
            {
                "comparison": one.name,
                "level": int(self.levels[pair, place]),
                "bits": round(float(self.scored.parts[pair, place]), 2),
            }
            for place, one in enumerate(model.comparisons)
            if self.levels[pair, place] >= 0 and abs(self.scored.parts[pair, place]) >= _SHOWN_BITS
        ]
        return {"prior_bits": round(find_bits(model.prior), 2), "comparisons": parts}


def find_alike(
    features: pa.Table,
    *,
    sides: Integers | None = None,
    known: Integers | None = None,
    forbidden: Iterable[tuple[int, int]] = (),
    least: float = LEAST_PROBABILITY,
    seed: int = 42,
    engine: EngineSettings | None = None,
    warehouse: Path | None = None,
) -> Likeness:
    """Learn what pairs of one person look like, and join them; the same rows give the same answer.

    ``features`` comes from ``build_features``. With ``sides`` (0 or 1 per row) two tables are linked and each record
    has at most one partner; without, duplicates are found. ``known`` numbers the persons that are known already (rare
    values are counted by persons); ``forbidden`` pairs of places are never joined. ``least`` is the probability
    from which a pair joins. Pairs are made and compared on ``engine`` (DuckDB by default; see ``open_backend``, as for
    ``warehouse``); what the levels say is learnt here.
    """
    size = features.num_rows
    one_side = np.zeros(size, dtype=np.int64)
    with open_backend(engine or EngineSettings(), warehouse) as backend:
        found = compare(features, one_side if sides is None else sides, backend, seed=seed)
    persons = np.arange(size) if known is None else known
    first = learn(found, find_rarity(found, features, persons))
    sure = first.weight >= FIRST_BITS
    persons = find_components(size, found.left[sure], found.right[sure])
    scored = learn(found, find_rarity(found, features, persons))
    held = join_groups(
        size, found.left, found.right, scored.weight, least=find_bits(least), sides=sides, forbidden=forbidden
    )
    groups = find_components(size, found.left[held], found.right[held])
    together = groups[found.left] == groups[found.right]
    chance: Floats = scored.probability
    return Likeness(
        scored,
        found.left,
        found.right,
        held,
        found.levels,
        groups,
        float(chance[together].mean()) if together.any() else 1.0,
        scored.model.prior * found.pairs,
        len(found.left),
    )


def find_bits(probability: float) -> float:
    """log2 of the odds of ``probability``, which is above 0 and below 1."""
    return float(np.log2(probability / (1 - probability)))


def name_level(comparisons: Iterable[Comparison], name: str, level: int) -> Comparison | None:
    """The comparison called ``name`` if it has that level; None for evidence of an older model."""
    for one in comparisons:
        if one.name == name and 0 <= level <= len(one.levels):
            return one
    return None
