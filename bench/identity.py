"""Claim: who is one person is found at least as well as by splink with its own tutorials' settings, on every set.

Pairwise precision, recall and F1 on FEBRL 1–4, splink's ``fake_1000`` and its 50k historical persons; one
configuration of ours for all sets, developed with these sets in view; m, u and prior see no label. The peer's best
ending is counted (see ``identity_peer``). ``small`` takes FEBRL 1 and fake_1000.
"""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa

from aimwell.data.identity.features import build_features
from aimwell.data.identity.likeness import find_alike
from bench.identity_peer import run_demo
from bench.identity_sets import NAMES, SHARED, RecordSet, list_true_pairs, load_set
from bench.result import emit, measure, read_scale

THREADS = 2
Pairs = set[tuple[str, str]]


def run_ours(records: RecordSet) -> Pairs:
    """The pairs that Aimwell joins."""
    tables = [build_features(table, record="unique_id") for table in records.tables]
    features = pa.concat_tables(tables, promote_options="default")
    sides = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
    found = find_alike(features, sides=sides if len(tables) > 1 else None, threads=THREADS, memory="4GB")
    names = features["record_id"].to_pylist()
    groups: dict[int, list[int]] = {}
    for place, person in enumerate(found.persons.tolist()):
        groups.setdefault(person, []).append(place)
    return {
        (min(names[one], names[other]), max(names[one], names[other]))
        for members in groups.values()
        for position, one in enumerate(members)
        for other in members[position + 1 :]
        if len(tables) == 1 or sides[one] != sides[other]
    }


def score(pairs: Pairs, truth: Pairs) -> tuple[float, float, float]:
    """Pairwise precision, recall and F1."""
    right = len(pairs & truth)
    precision, recall = right / max(1, len(pairs)), right / len(truth)
    return precision, recall, 2 * right / (len(pairs) + len(truth))


def main() -> int:
    """Print one line per set and side; 1 when a set is lost."""
    scale = read_scale(__doc__ or "")
    if not SHARED.is_dir():
        print(f"the sets are not at hand in {SHARED}")
        return 1
    figures: dict[str, dict[str, float]] = {}
    print(f"{'set':16}{'side':28}{'precision':>10}{'recall':>8}{'F1':>8}{'CPU s':>8}")
    for name in ("fake_1000", "febrl1") if scale == "small" else NAMES:
        records = load_set(name)
        truth = list_true_pairs(records)
        ours, spent = measure(lambda records=records: run_ours(records))
        mine = score(ours, truth)
        endings, cost = measure(lambda records=records: run_demo(records.name, records.tables, THREADS))
        scores = {
            ending: score({(min(pair), max(pair)) for pair in pairs}, truth)
            for ending, pairs in endings.items()
        }
        best = max(scores, key=lambda ending: scores[ending][2])
        for side, values, cpu in (("aimwell", mine, spent.cpu), (f"splink, {best}", scores[best], cost.cpu)):
            print(
                f"{name:16}{side:28}" + "{:10.4f}{:8.4f}{:8.4f}".format(*values) + f"{cpu:8.1f}", flush=True
            )
        figures[name] = {
            "ours": round(mine[2], 4),
            "peer": round(scores[best][2], 4),
            "our_cpu": round(spent.cpu, 1),
            "peer_cpu": round(cost.cpu, 1),
        }
    holds = all(entry["ours"] >= entry["peer"] for entry in figures.values())
    emit(
        claim="pairwise F1 of identity, mean over the sets, at least splink's tutorial settings' on each",
        ours=sum(entry["ours"] for entry in figures.values()) / len(figures),
        peer=sum(entry["peer"] for entry in figures.values()) / len(figures),
        unit="pairwise F1",
        holds=holds,
        sets=figures,
    )
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
