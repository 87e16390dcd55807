"""Find who is one person, look at it, take it apart or join it by hand; every change is a row of the log.

Reads ``delivered_customers``, ``identifiers`` and ``identity_links``; writes ``identifiers``, ``identity_links`` (only
ever appended to) and ``identities``, which is replayed from the log each time. No row of any other table changes:
readers see the customer instead of the record, and a join that is undone leaves everything as it was delivered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from aimwell.core.errors import BadInput, Conflict
from aimwell.core.ids import new_id
from aimwell.core.masking import mask_identifier
from aimwell.core.steps import StepResult
from aimwell.core.tables import IDENTITIES, IDENTITY_LINKS
from aimwell.core.text import say
from aimwell.core.time import business_day, now
from aimwell.data.findings import ask
from aimwell.data.identity.between import leave_second_partners, read_sides
from aimwell.data.identity.clustering import find_components
from aimwell.data.identity.deterministic import Contradiction, Strong, contradict, find_strong, resolve
from aimwell.data.identity.features import build_features
from aimwell.data.identity.identifiers import list_refused, read_identifiers
from aimwell.data.identity.likeness import LEAST_PROBABILITY, find_alike
from aimwell.data.identity.limits import load_limits
from aimwell.data.identity.log import Entry, Pair, State, order, read_entries, replay, settle
from aimwell.data.identity.parting import Stays, keep_refusals
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Run, Workspace

_SHOWN = 20
# Whoever is known, has bought or has done anything, as in ``tags``: visitors who never signed in among them.
_RECORDS = (
    "SELECT customer_id AS record FROM delivered_customers UNION SELECT record_id AS record FROM identifiers"
    " UNION SELECT customer_id AS record FROM delivered_order_lines"
    " UNION SELECT customer_id AS record FROM delivered_events"
)


@dataclass(frozen=True)
class _Link:
    """A join to be logged."""

    pair: Pair
    method: str
    probability: float
    evidence: dict[str, Any]


def find_identities(
    workspace: Workspace,
    *,
    probabilistic: bool = False,
    least: float = LEAST_PROBABILITY,
    between: tuple[str, str] | None = None,
    dry_run: bool = False,
) -> StepResult:
    """Join the records that share an identifier, and with ``probabilistic`` those that are alike from ``least`` on.

    ``between`` names two sources: likeness then joins a record of the one with at most one record of the other, and
    no two of one source. With ``dry_run`` nothing is written. BadInput when ``least`` is no probability of at least
    one half, or customers of a source are not known.
    """
    if not 0.5 <= least < 1:
        raise BadInput(
            "data.identity_bad_threshold",
            say("The least probability {value} does not fit.", value=least),
            remedy=say("Choose one from 0.5 up to but not including 1."),
            where={"value": str(least)},
        )
    parameters: dict[str, Any] = {"identity": "find", "probabilistic": probabilistic, "least": least}
    if between is not None:
        parameters["between"] = list(between)
    likely = (least, between) if probabilistic else None
    if dry_run:
        with workspace.read() as reader:
            return _find(workspace, reader, None, likely)
    with workspace.run("data", as_of=_today(workspace), parameters=parameters) as run:
        return _find(workspace, run, run, likely)


def _find(
    workspace: Workspace,
    reader: Queryable,
    run: Run | None,
    likely: tuple[float, tuple[str, str] | None] | None,
) -> StepResult:
    """``likely``: from which probability on likeness joins, and between which sources; None: it joins nobody."""
    limits = load_limits(workspace.path, workspace.settings.business.zone)
    identifiers = read_identifiers(reader, limits, run.id if run else "")
    resolution = resolve(identifiers)
    state = _read_state(reader)
    links = [
        _Link((match.left, match.right), "deterministic", 1.0, {"kinds": list(match.kinds)})
        for match in resolution.matches
    ]
    summary: dict[str, Any] = {"probabilistic": None}
    if likely is not None:
        more, summary["probabilistic"] = _find_alike(
            workspace, reader, identifiers, links, resolution.contradictions, state, likely, limits.region
        )
        links += more
    fresh = _keep_new(links, state)
    entries = _make_entries(fresh)
    settled = settle([*_read_log(reader), *entries])
    joined, _ = replay(settled)
    before = {row["record_id"]: row["customer_id"] for row in ask(reader, "SELECT * FROM identities")}
    records = int(ask(reader, f"SELECT count(*) AS rows FROM ({_RECORDS})")[0]["rows"])
    if run is not None:
        run.replace("identifiers", identifiers)
        _write(run, entries, joined)
    summary |= {
        "written": run is not None,
        "records": records,
        "identifiers": identifiers.num_rows,
        "new_links": {
            method: sum(link.method == method for link in fresh)
            for method in ("deterministic", "probabilistic")
        },
        "joined_records": len(joined),
        "joined_before": len(before),
        "customers": records - len(joined) + len(set(joined.values())),
        "contradictions": len(resolution.contradictions),
        "refused": len(list_refused(identifiers, limits)),
        "kept_apart": len(settled.forbidden),
    }
    return StepResult("data", "done", summary)


def _find_alike(
    workspace: Workspace,
    reader: Queryable,
    identifiers: pa.Table,
    links: list[_Link],
    contradictions: list[Contradiction],
    state: State,
    likely: tuple[float, tuple[str, str] | None],
    region: str,
) -> tuple[list[_Link], dict[str, Any]]:
    """Links by likeness between records, and what the model says of itself."""
    least, between = likely
    customers, sides = read_sides(reader, between)
    features = build_features(customers, region=region)
    if features.num_rows < 2 or features.num_columns < 2:
        return [], {"links": 0, "candidates": 0, "expected_precision": None, "expected_matches": 0.0}
    names = features["record_id"].to_pylist()
    place = {name: number for number, name in enumerate(names)}
    pairs = [link.pair for link in links if link.pair[0] in place and link.pair[1] in place]
    ends = np.array([[place[one], place[other]] for one, other in pairs], dtype=np.int64).reshape(-1, 2)
    apart = {*state.forbidden, *(order(one.left, one.right) for one in contradictions)}
    found = find_alike(
        features,
        sides=sides,
        known=find_components(len(names), ends[:, 0], ends[:, 1]),
        forbidden=[(place[one], place[other]) for one, other in apart if one in place and other in place],
        least=least,
        seed=workspace.settings.seed,
        engine=workspace.settings.engine,
        warehouse=workspace.warehouse_folder,
    )
    strong = find_strong(identifiers)
    chance = found.scored.probability
    more = []
    for pair in np.flatnonzero(found.held & (chance >= least)).tolist():
        one, other = names[int(found.left[pair])], names[int(found.right[pair])]
        if contradict(strong.get(one, {}), strong.get(other, {})) is None:
            more.append(_Link(order(one, other), "probabilistic", float(chance[pair]), found.explain(pair)))
    more = _leave_contradictions(links, more, strong)
    if sides is not None:
        known = [*(link.pair for link in links), *(one.pair for one in state.links)]
        kept = leave_second_partners([link.pair for link in more], known, names, sides)
        more = [link for link in more if link.pair in kept]
    return more, {
        "links": len(more),
        "candidates": found.candidates,
        "expected_precision": round(found.expected_precision, 4) if more else None,
        "expected_matches": round(found.expected_matches, 1),
    }


def _leave_contradictions(
    certain: list[_Link], likely: list[_Link], strong: dict[str, Strong]
) -> list[_Link]:
    """Likely links without those that would bring two contradicting records together through others."""
    parent: dict[str, str] = {}
    held: dict[str, Strong] = {}

    def find(record: str) -> str:
        while parent.setdefault(record, record) != record:
            parent[record] = parent[parent[record]]
            record = parent[record]
        return record

    def join(pair: Pair, checked: bool) -> bool:
        one, other = find(pair[0]), find(pair[1])
        mine, theirs = held.get(one, strong.get(one, {})), held.get(other, strong.get(other, {}))
        if one == other:
            return True
        if checked and contradict(mine, theirs):
            return False
        parent[other] = one
        held[one] = {
            kind: mine.get(kind, frozenset()) | theirs.get(kind, frozenset())
            for kind in mine.keys() | theirs.keys()
        }
        return True

    for link in certain:
        join(link.pair, False)
    return [
        link
        for link in sorted(likely, key=lambda link: (-link.probability, link.pair))
        if join(link.pair, True)
    ]


def join_records(workspace: Workspace, one: str, other: str) -> dict[str, Any]:
    """A person says that two records are one; BadInput when a record is not known or both are the same."""
    return _say(workspace, one, other, "same")


def split_records(workspace: Workspace, one: str, other: str) -> dict[str, Any]:
    """A person says that two records are two people: they are taken apart, and stay so.

    ``stays``: what is left with the customer that they were, where they were one (``parting``). BadInput when a record
    is not known or both are the same.
    """
    # First: whoever dies in between has two careful records that are one still, and not one who is written to again.
    stays = _keep_refusals(workspace, one, other)
    return _say(workspace, one, other, "apart") | {"stays": None if stays is None else vars(stays)}


def _keep_refusals(workspace: Workspace, one: str, other: str) -> Stays | None:
    with workspace.read() as reader:
        rows = ask(
            reader,
            """
            SELECT i.record_id, i.customer_id FROM identities AS i
            JOIN identities AS a ON a.customer_id = i.customer_id AND a.record_id = $one
            JOIN identities AS b ON b.customer_id = i.customer_id AND b.record_id = $other
            ORDER BY i.record_id
            """,
            {"one": one, "other": other},
        )
    if not rows:
        return None
    with workspace.store.begin() as connection:
        return keep_refusals(connection, rows[0]["customer_id"], [row["record_id"] for row in rows])


def _say(workspace: Workspace, one: str, other: str, verdict: str) -> dict[str, Any]:
    with workspace.run(
        "data",
        as_of=_today(workspace),
        parameters={"identity": verdict, "left_record": one, "right_record": other},
    ) as run:
        check_records(run, one, other)
        log = _read_log(run)
        pair = order(one, other)
        # Its clock must not run behind what it overrules.
        at = max(
            [now(), *(entry.decided_at + timedelta(microseconds=1) for entry in log if entry.pair == pair)]
        )
        entry = Entry(new_id("link"), *pair, verdict, "person", 1.0 if verdict == "same" else 0.0, "{}", at)
        settled = settle([*log, entry])
        joined, _ = replay(settled)
        together = joined.get(one, one) == joined.get(other, other)
        if verdict == "same" and not together:
            raise Conflict(
                "data.identity_held_apart",
                say(
                    "'{one}' and '{other}' cannot be joined: they would bring records together that were split.",
                    one=one,
                    other=other,
                ),
                remedy=say("See which records were split: aimwell data identity review"),
                where={"value": one},
            )
        _write(run, [entry], joined)
    return {
        "verdict": verdict,
        "left": one,
        "right": other,
        "customers": sorted({joined.get(one, one), joined.get(other, other)}),
        "joined_records": len(joined),
    }


def list_identities(workspace: Workspace, *, limit: int = _SHOWN) -> dict[str, Any]:
    """The customers made of several records, largest first, with their records; ``total`` counts all of them."""
    with workspace.read() as reader:
        rows = ask(
            reader,
            f"""
            WITH grouped AS (
                SELECT customer_id, count(*) AS records FROM identities GROUP BY customer_id
            ), shown AS (SELECT * FROM grouped ORDER BY records DESC, customer_id LIMIT {int(limit)})
            SELECT i.customer_id, i.record_id, d.source, s.records
            FROM identities AS i JOIN shown AS s ON s.customer_id = i.customer_id
            LEFT JOIN delivered_customers AS d ON d.customer_id = i.record_id
            ORDER BY s.records DESC, i.customer_id, i.record_id
            """,
        )
        counts = ask(
            reader, "SELECT count(DISTINCT customer_id) AS total, count(*) AS records FROM identities"
        )[0]
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["customer_id"], []).append({"record": row["record_id"], "source": row["source"]})
    return {
        "total": int(counts["total"]),
        "records": int(counts["records"]),
        "customers": [{"customer": customer, "records": records} for customer, records in found.items()],
    }


def review(workspace: Workspace, *, limit: int = _SHOWN, reveal: bool = False) -> dict[str, Any]:
    """What a person should look at: contradictions, identifiers that join nobody, pairs that were split.

    Identifiers are masked unless ``reveal``; a stand-in is nobody's own, and is shown.
    """
    limits = load_limits(workspace.path, workspace.settings.business.zone)
    with workspace.read() as reader:
        identifiers = read_identifiers(reader, limits, "")
        state = _read_state(reader)
    contradictions = [
        one
        for one in resolve(identifiers).contradictions
        if order(one.left, one.right) not in state.forbidden
    ]
    refused = list_refused(identifiers, limits)
    return {
        "contradictions": [
            {"left": one.left, "right": one.right, "kinds": list(one.kinds), "differs": one.differs}
            for one in contradictions[:limit]
        ],
        "contradictions_total": len(contradictions),
        "refused": [
            {
                "kind": one.kind,
                "value": one.value if reveal or one.blocked else mask_identifier(one.kind, one.value),
                "records": one.records,
                "blocked": one.blocked,
            }
            for one in refused[:limit]
        ],
        "refused_total": len(refused),
        "split": [{"left": one, "right": other} for one, other in sorted(state.forbidden)[:limit]],
        "split_total": len(state.forbidden),
    }


def rebuild(workspace: Workspace) -> dict[str, str]:
    """Replay the whole log into ``identities``; record → customer."""
    with workspace.run("data", as_of=_today(workspace), parameters={"identity": "rebuild"}) as run:
        joined, _ = replay(_read_state(run))
        _write(run, [], joined)
    return joined


def _keep_new(links: list[_Link], state: State) -> list[_Link]:
    """Links that the log does not hold yet, and that nobody has forbidden."""
    known = {entry.pair for entry in state.links} | state.forbidden
    kept: dict[Pair, _Link] = {}
    for link in links:
        if link.pair not in known:
            kept.setdefault(link.pair, link)
    return list(kept.values())


def _make_entries(links: list[_Link]) -> list[Entry]:
    at = now()
    return [
        Entry(
            new_id("link"), *link.pair, "same", link.method, link.probability, json.dumps(link.evidence), at
        )
        for link in links
    ]


def _write(run: Run, entries: list[Entry], joined: dict[str, str]) -> None:
    rows = [
        {
            "link_id": entry.link_id,
            "left_record": entry.left,
            "right_record": entry.right,
            "verdict": entry.verdict,
            "method": entry.method,
            "probability": entry.probability,
            "evidence": entry.evidence,
            "decided_at": entry.decided_at,
            "run_id": run.id,
        }
        for entry in entries
    ]
    run.append("identity_links", IDENTITY_LINKS.build(rows))
    people = [
        {"record_id": record, "customer_id": customer, "run_id": run.id}
        for record, customer in sorted(joined.items())
    ]
    run.replace("identities", IDENTITIES.build(people))


def _read_log(reader: Queryable) -> list[Entry]:
    return read_entries(ask(reader, "SELECT * FROM identity_links ORDER BY decided_at, link_id"))


def _read_state(reader: Queryable) -> State:
    return settle(_read_log(reader))


def check_records(reader: Queryable, one: str, other: str) -> None:
    """BadInput when both records are the same or one is not known."""
    if one == other:
        raise BadInput(
            "data.identity_same_record",
            say("Both records are '{record}'.", record=one),
            remedy=say("Name two different records."),
            where={"value": one},
        )
    for record in (one, other):
        if not ask(reader, f"SELECT record FROM ({_RECORDS}) WHERE record = $id", {"id": record}):
            raise BadInput(
                "data.identity_unknown_record",
                say("There is no customer record '{record}'.", record=record),
                remedy=say("Use the customer numbers as the sources deliver them."),
                where={"value": record},
            )


def _today(workspace: Workspace) -> Any:
    at: datetime = now()
    return business_day(at, workspace.settings.business.zone)
