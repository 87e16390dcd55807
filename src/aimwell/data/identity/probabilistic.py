"""Which records are alike enough to be one person: the model of Fellegi and Sunter, with splink.

Splink compares the candidate pairs level by level, counts how often each level comes about by chance (u, on random
pairs) and how much rarer or commoner a value is than the average (term frequency). How often each level is met
among pairs of one person (m), and how many such pairs there are, is learnt here by expectation maximisation over
all candidate pairs at once. Reads ``features``; gives scored pairs.

Fellegi and Sunter 1969, "A theory for record linkage"; Winkler 1988 for EM.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimwell.data.identity.backend import Backend
from aimwell.data.identity.blocking import Key, make_pairs
from aimwell.data.identity.comparisons import Comparison, choose_comparisons

_ROUNDS = 200
_TOLERANCE = 1e-6
_SAMPLED_PAIRS = 500_000
_STRENGTH = 2.0
"""How many pairs the first guess of m counts for: keeps levels that are never met from being impossible."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Model:
    """What was learnt: per comparison m and u of each level, from different (0) to most alike, and the prior."""

    comparisons: list[Comparison]
    m: list[Floats]
    u: list[Floats]
    prior: float
    rounds: int


@dataclass(frozen=True)
class Compared:
    """Candidate pairs by the places of their records, and the level of each comparison (−1: missing)."""

    comparisons: list[Comparison]
    left: Integers
    right: Integers
    levels: NDArray[np.int8]
    observed: list[Floats]
    """Per comparison the share of random pairs at each level."""
    pairs: float
    """How many pairs there are in all, compared or not."""
    keys: list[Key]


@dataclass(frozen=True)
class Scored:
    """The weight of each candidate pair: log2 of the odds that both are one person; ``parts`` per comparison."""

    model: Model
    weight: Floats
    parts: NDArray[np.float32]

    @property
    def probability(self) -> Floats:
        """That both records are one person, as the model has it."""
        return np.asarray(1.0 / (1.0 + np.exp2(-np.clip(self.weight, -500, 500))), dtype=np.float64)


def compare(features: pa.Table, sides: Integers, backend: Backend, *, seed: int) -> Compared:
    """Compare the candidate pairs of ``features`` level by level in ``backend``; the same rows give the same answer.

    ``sides`` says for each row which of two tables it is from (all 0: duplicates are looked for in one).
    """
    two = bool(sides.max(initial=0) > 0)
    columns = frozenset(features.column_names)
    chosen = choose_comparisons(columns)
    _put_features(backend, features, sides, chosen)
    keys = make_pairs(backend, columns, two=two)
    observed, compared = _run_splink(backend, chosen, seed)
    levels = np.stack([compared[f"gamma_{one.name}"].to_numpy() for one in chosen], axis=1).astype(np.int8)
    left, right = compared["place_l"].to_numpy(), compared["place_r"].to_numpy()
    counts = np.bincount(sides)
    pairs = float(counts[0] * counts[1]) if two else len(sides) * (len(sides) - 1) / 2
    return Compared(chosen, left, right, levels, observed, pairs, keys)


def _put_features(backend: Backend, features: pa.Table, sides: Integers, chosen: list[Comparison]) -> None:
    """The table ``features`` with a column for everything that comparisons and keys name; absent ones are null."""
    named = sorted({name for one in chosen for name in one.uses} | set(features.column_names) - {"record_id"})
    absent = [name for name in named if name not in features.column_names]
    table = features.append_column("side", pa.array(sides)).append_column(
        "place", pa.array(np.arange(len(sides)))
    )
    for name in absent:
        table = table.append_column(name, pa.nulls(len(sides), pa.string()))
    backend.put("features", table)


def _run_splink(backend: Backend, chosen: list[Comparison], seed: int) -> tuple[list[Floats], pa.Table]:
    """How often each level is met on random pairs, and the levels of the table ``candidates``, in a fixed order."""
    from splink import Linker, SettingsCreator

    logging.getLogger("splink").setLevel(logging.ERROR)
    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="place",
        comparisons=[one.to_splink() for one in chosen],
        # Only so does splink hand out the levels themselves.
        retain_matching_columns=True,
        retain_intermediate_calculation_columns=False,
    )
    linker = Linker(backend.database.register("features"), settings, log_level=None, validate_settings=False)
    linker.training.estimate_u_using_random_sampling(
        max_pairs=_SAMPLED_PAIRS, seed=seed, min_count_per_level=None, num_chunks=1
    )
    observed = [_read_u(linker, place) for place in range(len(chosen))]
    return observed, _list_levels(backend, linker, chosen)


def _list_levels(backend: Backend, linker: Any, chosen: list[Comparison]) -> pa.Table:
    """``place_l``, ``place_r`` and the levels; in slices, since splink keeps every value beside them."""
    count = backend.query("SELECT count(*) AS pairs FROM candidates")["pairs"][0].as_py()
    slices = 1 + (count // backend.slice if backend.slice else 0)
    gammas = ", ".join(f"CAST(gamma_{one.name} AS TINYINT) AS gamma_{one.name}" for one in chosen)
    parts = []
    for number in range(slices):
        backend.keep(
            "blocked",
            f"""
            SELECT '0' AS match_key, place_l AS join_key_l, place_r AS join_key_r FROM candidates
            WHERE place_l % {slices} = {number}
            """,
        )
        linker.table_management.register_blocked_pairs_for_predict(backend.database.register("blocked"))
        predicted = linker.inference.predict(warning_mode="never")
        parts.append(backend.query(f"SELECT place_l, place_r, {gammas} FROM {predicted.physical_name}"))
        predicted.drop_table_from_database_and_remove_from_cache()
    return pa.concat_tables(parts).sort_by([("place_l", "ascending"), ("place_r", "ascending")])


def _read_u(linker: Any, place: int) -> Floats:
    levels = linker._settings_obj.comparisons[place].comparison_levels
    known = {
        level.comparison_vector_value: float(level.u_probability)
        for level in levels
        if not level.is_null_level
    }
    return np.array([known[value] for value in sorted(known)])


def learn(compared: Compared, rarity: NDArray[np.float32]) -> Scored:
    """Learn m, u and the prior from all candidate pairs, and weigh each pair.

    Pairs that share no key are taken for different people. A share of the random pairs on which u was counted are
    of one person, which matters where hardly anybody else shares a value: u is corrected by it in every round.
    ``rarity`` has, per pair and comparison, log2 of the share of persons with the value that both have; NaN where
    the level does not look at a value.
    """
    levels, observed = compared.levels, compared.observed
    m = [_guess_m(len(shares)) for shares in observed]
    prior, rounds = min(0.01, 1.0 / np.sqrt(compared.pairs + 4)), 0
    before = -1.0
    while True:
        rounds += 1
        u = [_correct(shares, likely, prior) for shares, likely in zip(observed, m, strict=True)]
        parts = (
            np.stack([_weigh(levels[:, k], rarity[:, k], m[k], u[k]) for k in range(len(m))], axis=1)
            if m
            else np.zeros((len(levels), 0), dtype=np.float32)
        )
        weight = parts.sum(axis=1, dtype=np.float64) + np.log2(prior) - np.log1p(-prior) / np.log(2)
        chance = 1.0 / (1.0 + np.exp2(-np.clip(weight, -500, 500)))
        if before >= 0 and (abs(chance.sum() - before) <= _TOLERANCE * max(1.0, before) or rounds >= _ROUNDS):
            return Scored(Model(compared.comparisons, m, u, prior, rounds), weight, parts)
        before = float(chance.sum())
        prior = min(0.5, max(before, 1e-3) / compared.pairs)
        m = [_count(levels[:, place], chance, len(shares)) for place, shares in enumerate(observed)]


def _guess_m(size: int) -> Floats:
    """Most pairs of one person agree; what is left falls on the other levels alike."""
    guess = np.full(size, 0.15 / max(1, size - 1))
    guess[-1] = 0.85
    return guess


def _count(levels: NDArray[np.int8], chance: Floats, size: int) -> Floats:
    known = levels >= 0
    met: Floats = np.bincount(levels[known], weights=chance[known], minlength=size).astype(np.float64)
    met += _STRENGTH * _guess_m(size)
    return np.asarray(met / met.sum())


def _correct(shares: Floats, likely: Floats, prior: float) -> Floats:
    least = np.maximum(shares * 0.01, 0.1 / _SAMPLED_PAIRS)
    corrected = np.maximum((shares - prior * likely) / (1 - prior), least)
    return np.asarray(corrected / corrected.sum())


def _weigh(
    levels: NDArray[np.int8], rarity: NDArray[np.float32], likely: Floats, unlikely: Floats
) -> NDArray[np.float32]:
    """log2(m ÷ u) of each pair's level, with the value's own share of persons for u where it is known."""
    usual = np.append(np.log2(likely / unlikely), 0.0)[levels]
    own = np.append(np.log2(likely), 0.0)[levels] - rarity
    return np.where(np.isnan(rarity), usual, own).astype(np.float32)


def find_rarity(compared: Compared, features: pa.Table, persons: Integers) -> NDArray[np.float32]:
    """For ``learn``: log2 of the share of persons that have the value on which a pair agrees.

    ``persons`` numbers the person of each record as known so far: a value that twenty records of one person
    share is still rare.
    """
    rarity = np.full(compared.levels.shape, np.nan, dtype=np.float32)
    total = len(np.unique(persons))
    for place, one in enumerate(compared.comparisons):
        for back, level in enumerate(one.levels):
            if level.frequency_of is None or level.frequency_of not in features.column_names:
                continue
            at = compared.levels[:, place] == len(one.levels) - back
            codes = features[level.frequency_of].combine_chunks().dictionary_encode().indices
            values = codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
            seen = np.unique(np.stack([values[values >= 0], persons[values >= 0]]), axis=1)[0]
            shares = (np.bincount(seen, minlength=values.max(initial=0) + 1) + 0.5) / (total + 0.5)
            rarity[at, place] = np.log2(shares)[values[compared.left[at]]]
    return rarity
