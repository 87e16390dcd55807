"""Networks of customers: who stands in the middle, and who belongs together.

PageRank by power iteration on a sparse matrix (Brin and Page 1998), communities by Louvain (Blondel et al. 2008)
from networkx: see docs/decisions/0012. Ties come from events of one customer that name the other in a property, and
weigh as often as they happened; a record that was joined stands for its customer. Reads events and identities;
writes nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.engine.funnel import show_property
from aimwell.engine.session import Queryable
from aimwell.engine.sql_text import show_day

DAMPING = 0.85
_TOLERANCE = 1e-10
_MOST_ITERATIONS = 200
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Network:
    """Customers and weighted ties from the one to the other, by place."""

    customers: tuple[str, ...]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    weight: Numbers

    @property
    def matrix(self) -> sparse.csr_array:
        """Weights, a row per source and a column per target; shape (n, n)."""
        size = len(self.customers)
        return sparse.csr_array((self.weight, (self.source, self.target)), shape=(size, size))


def read_network(reader: Queryable, name: str, other: str, *, end: date) -> Network:
    """The ties from events ``name`` before ``end`` whose property ``other`` names the other customer.

    NotReady when there is none.
    """
    told = show_property("e.properties", other)
    sql = f"""\
SELECT source, target, COUNT(*) AS weight
FROM (
    SELECT e.customer_id AS source, COALESCE(i.customer_id, {told}) AS target
    FROM events AS e
    LEFT JOIN identities AS i ON i.record_id = {told}
    WHERE e.name = $name AND e.occurred_on < {show_day(end)}
      AND {told} IS NOT NULL
) AS ties
GROUP BY source, target
ORDER BY source, target"""
    rows = reader.query(sql, {"name": name})
    if not rows.num_rows:
        raise NotReady(
            "analysis.no_ties",
            say("No event '{name}' names another customer in '{other}'.", name=name, other=other),
            remedy=say("See which events there are with: aimwell analysis events"),
            where={"value": name},
        )
    return build_network(rows["source"].to_pylist(), rows["target"].to_pylist(), rows["weight"].to_pylist())


def build_network(sources: list[str], targets: list[str], weights: list[float]) -> Network:
    """A network from plain columns; a customer's ties to themselves are left out."""
    names = sorted({*sources, *targets})
    places = {name: place for place, name in enumerate(names)}
    ends = np.array(
        [[places[a], places[b]] for a, b in zip(sources, targets, strict=True)], np.int64
    ).reshape(-1, 2)
    apart = ends[:, 0] != ends[:, 1]
    weight = np.asarray(weights, np.float64)[apart]
    return Network(tuple(names), ends[apart, 0], ends[apart, 1], weight)


def rank_customers(network: Network, *, damping: float = DAMPING) -> Numbers:
    """The PageRank of each customer, shape (n,), summing to 1: who is reached from those who are much reached."""
    matrix = network.matrix
    size = len(network.customers)
    out = np.asarray(matrix.sum(axis=1)).ravel()
    spread = sparse.diags_array(np.divide(1.0, out, out=np.zeros(size), where=out > 0)) @ matrix
    flow = sparse.csr_array(spread.T)
    rank = np.full(size, 1.0 / size)
    for _ in range(_MOST_ITERATIONS):
        # Who points to nobody shares evenly with all.
        loose = float(rank[out == 0].sum())
        following = damping * (flow @ rank + loose / size) + (1 - damping) / size
        if float(np.abs(following - rank).sum()) < _TOLERANCE:
            return np.asarray(following, np.float64)
        rank = following
    return rank


def find_communities(network: Network, *, seed: int) -> list[list[str]]:
    """Groups of customers with many ties inside and few outside (Louvain; ties count both ways), largest first."""
    graph = nx.Graph()
    graph.add_nodes_from(range(len(network.customers)))
    both: Counter[tuple[int, int]] = Counter()
    for source, target, weight in zip(
        network.source.tolist(), network.target.tolist(), network.weight.tolist(), strict=True
    ):
        both[min(source, target), max(source, target)] += weight
    graph.add_weighted_edges_from((a, b, weight) for (a, b), weight in both.items())
    groups = nx.community.louvain_communities(graph, seed=seed)
    named = [sorted(network.customers[place] for place in group) for group in groups]
    return sorted(named, key=lambda group: (-len(group), group))


def measure_modularity(network: Network, communities: list[list[str]]) -> float:
    """How much more ties lie inside the communities than chance would put there; below 1, above 0.3 is marked."""
    places = {name: place for place, name in enumerate(network.customers)}
    label = np.zeros(len(places), np.int64)
    for number, group in enumerate(communities):
        label[[places[name] for name in group]] = number
    total = 2 * network.weight.sum()
    inside = 2 * network.weight[label[network.source] == label[network.target]].sum() / total
    degree = np.bincount(network.source, network.weight, len(places))
    degree = degree + np.bincount(network.target, network.weight, len(places))
    shares = np.bincount(label, degree) / total
    return float(inside - (shares**2).sum())


def measure_network(network: Network, *, count: int = 10, seed: int | None = None) -> dict[str, Any]:
    """Size, the customers in the middle, and with a ``seed`` the communities (minutes at a million ties)."""
    rank = rank_customers(network)
    size = len(network.customers)
    indegree = np.bincount(network.target, minlength=size)
    outdegree = np.bincount(network.source, minlength=size)
    order = np.lexsort((np.arange(size), -rank))[:count]
    pairs = sparse.csr_array(
        (np.ones(len(network.source)), (network.source, network.target)), shape=(size, size)
    )
    parts, _ = csgraph.connected_components(pairs, directed=True, connection="weak")
    found: dict[str, Any] = {
        "customers": size,
        "ties": len(network.source),
        "weight": float(network.weight.sum()),
        "separate_parts": int(parts),
        "reciprocity": round(float(pairs.multiply(pairs.T).sum() / max(pairs.nnz, 1)), 4),
        "central": [
            {
                "customer_id": network.customers[place],
                "rank": round(float(rank[place]), 6),
                "times_average": round(float(rank[place] * size), 2),
                "tied_from": int(indegree[place]),
                "tied_to": int(outdegree[place]),
            }
            for place in order
        ],
    }
    if seed is not None:
        groups = find_communities(network, seed=seed)
        found["communities"] = [
            {"size": len(group), "share": round(len(group) / size, 4), "examples": group[:5]}
            for group in groups[:count]
        ]
        found["community_count"] = len(groups)
        found["modularity"] = round(measure_modularity(network, groups), 4)
    return found
