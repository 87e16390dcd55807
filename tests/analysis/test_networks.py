"""Networks and referrals: against networkx, against trees worked out by hand, and on real timed messages."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest

from aimwell.analysis.networks import (
    build_network,
    find_communities,
    measure_modularity,
    measure_network,
    rank_customers,
    read_network,
)
from aimwell.analysis.referrals import (
    build_referrals,
    find_depths,
    measure_referrals,
    read_by_attribute,
    read_by_event,
    sum_downstream,
)
from aimwell.core.errors import NotReady
from aimwell.core.tables import TABLES
from aimwell.engine.workspace import Workspace
from aimwell.stats.mean_cumulative import estimate_mean_cumulative
from tests.analysis.event_logs import SHARED

MESSAGES = SHARED / "snap_collegemsg" / "CollegeMsg.txt"


def test_ranks_are_those_of_networkx() -> None:
    graph = nx.gnp_random_graph(60, 0.05, seed=3, directed=True)
    sources, targets = zip(*[(f"c{a}", f"c{b}") for a, b in graph.edges], strict=True)
    network = build_network(list(sources), list(targets), [1.0] * len(sources))
    theirs = nx.pagerank(nx.DiGraph(list(zip(sources, targets, strict=True))), tol=1e-12)
    for name, rank in zip(network.customers, rank_customers(network), strict=True):
        assert rank == pytest.approx(theirs[name], abs=1e-8)


def test_two_circles_of_friends_are_found() -> None:
    pairs = [(a, b) for group in ("abcd", "wxyz") for a in group for b in group if a < b] + [("d", "w")]
    network = build_network([a for a, _ in pairs], [b for _, b in pairs], [1.0] * len(pairs))
    groups = find_communities(network, seed=1)
    assert groups == [list("abcd"), list("wxyz")]
    graph = nx.Graph(pairs)
    assert measure_modularity(network, groups) == pytest.approx(
        nx.community.modularity(graph, map(set, groups))
    )


def test_chains_depths_and_what_is_downstream() -> None:
    referrals = build_referrals(
        ["a", "b", "c", "d", "e"],
        np.array([0.0, 1.0, 2.0, 3.0, 0.5]),
        [None, "a", "b", "b", "nobody"],
        watched_until=10.0,
    )
    assert find_depths(referrals).tolist() == [0, 1, 2, 2, 0]
    assert sum_downstream(referrals, np.array([1.0, 10.0, 100.0, 1_000.0, 7.0])).tolist() == [
        1110,
        1100,
        0,
        0,
        0,
    ]
    assert referrals.dropped == 1


def test_who_invites_himself_or_comes_later_invites_nobody() -> None:
    referrals = build_referrals(
        ["a", "b", "c"], np.array([1.0, 0.0, 0.0]), ["a", "a", "b"], watched_until=5.0
    )
    assert referrals.inviter.tolist() == [-1, -1, 1]
    with pytest.raises(NotReady):
        measure_referrals(build_referrals(["a"], np.array([0.0]), [None], watched_until=5.0))


def test_the_mean_cumulative_function_on_paper() -> None:
    # Two watched for 10 days, one for 2: the event on day 1 is one in three, that on day 5 one in two.
    found = estimate_mean_cumulative(
        np.array([1.0, 5.0]), np.array([2, 0]), np.array([10.0, 10.0, 2.0]), least_at_risk=2
    )
    assert found.estimate.estimate == pytest.approx(1 / 3 + 1 / 2)
    assert found.horizon == 10.0
    assert found.find_quantile(0.3) == 1.0
    with pytest.raises(NotReady):
        estimate_mean_cumulative(np.array([]), np.array([], np.int64), np.array([1.0]))


@pytest.mark.skipif(not MESSAGES.exists(), reason="the shared data sets are not at hand")
def test_a_real_network_of_timed_messages() -> None:
    rows = [line.split() for line in MESSAGES.read_text().splitlines()]
    network = build_network([a for a, _, _ in rows], [b for _, b, _ in rows], [1.0] * len(rows))
    found = measure_network(network, seed=5)
    assert (found["customers"], found["weight"]) == (1_899, 59_835.0)
    assert found["modularity"] > 0.2
    assert found["central"][0]["times_average"] > 5
    first: dict[str, float] = {}
    asked: dict[str, str] = {}
    for sender, receiver, moment in sorted(rows, key=lambda row: int(row[2])):
        day = int(moment) / 86_400
        if receiver not in first:
            first[receiver], asked[receiver] = day, sender
        first.setdefault(sender, day)
    names = sorted(first)
    joined = np.array([first[name] for name in names])
    # Whoever was written to before writing was brought by the first who wrote.
    brought = build_referrals(
        names, joined, [asked.get(name) for name in names], watched_until=float(joined.max() + 1)
    )
    measured = measure_referrals(brought)
    assert 0.3 < measured["reproduction"]["estimate"] < 3
    assert measured["chains"]["deepest"] >= 3


def _invite(number: int, inviter: str, invited: str, day: int) -> dict[str, object]:
    at = datetime(2024, 1, day, 12, tzinfo=UTC)
    return {
        "event_id": f"e{number}",
        "customer_id": inviter,
        "name": "Friend Invited",
        "occurred_at": at,
        "occurred_on": at.date(),
        "properties": json.dumps({"invited": invited}),
        "source": "t",
        "simulated": False,
    }


def _make_joined_workspace(folder: Path) -> Workspace:
    """Ann has a record at the till (ann) and one of the app (ann_app); Bo was named by both, Cy by himself first."""
    workspace = Workspace.create(folder / "w", name="w", zone="Asia/Shanghai", currency="CNY")
    visits = [
        {**_invite(10 + number, customer, "", day), "name": "Visit", "properties": None}
        for number, (customer, day) in enumerate(
            (("ann", 1), ("ann_app", 2), ("bo", 5), ("cy", 6), ("cy_app", 7))
        )
    ]
    invitations = [
        _invite(1, "ann_app", "bo", 3),
        _invite(2, "ann", "bo", 4),
        _invite(3, "cy", "cy_app", 6),
        _invite(4, "bo", "cy_app", 8),
    ]
    customers = TABLES["customers"].build(
        [{"customer_id": one, "source": "t"} for one in ("ann", "ann_app", "bo", "cy", "cy_app")]
    )
    invited_by = pa.array([None, None, "ann_app", "bo", None], pa.string())
    joined = [
        {"record_id": "ann_app", "customer_id": "ann", "run_id": "r"},
        {"record_id": "cy_app", "customer_id": "cy", "run_id": "r"},
    ]
    with workspace.run("data", as_of=date(2024, 2, 1)) as run:
        run.replace("customers", customers.append_column("invited_by", invited_by))
        run.replace("events", TABLES["events"].build([*visits, *invitations]))
        run.replace("identities", TABLES["identities"].build(joined))
    return workspace


def test_who_is_named_by_a_record_is_the_customer_of_that_record(tmp_path: Path) -> None:
    end, until = date(2024, 2, 1), datetime(2024, 2, 1, tzinfo=UTC)
    with _make_joined_workspace(tmp_path).read() as reader:
        found = (
            read_by_attribute(reader, "invited_by", end=end, until=until),
            read_by_event(reader, "Friend Invited", "invited", end=end, until=until),
        )
        network = read_network(reader, "Friend Invited", "invited", end=end)
    for referrals in found:
        assert referrals.customers == ("ann", "bo", "cy")
        assert referrals.inviter.tolist() == [-1, 0, 1]
        assert referrals.dropped == 0
    assert network.customers == ("ann", "bo", "cy")
    ties = zip(network.source.tolist(), network.target.tolist(), network.weight.tolist(), strict=True)
    # That Cy named himself is no tie.
    assert sorted(ties) == [(0, 1, 2.0), (1, 2, 1.0)]
