"""Previews of rules before they are kept: latency one after the other and with eight people at once, beside DuckDB.

``tags_first``: a rule asks for columns that nobody has asked for; ``tags_again``: the previewer holds all columns, as a
service's does once it has fetched them in the background; ``tags_fetching``: while it does so, from the start.
``crowd``: eight people at once, who ask again; ``crowd_first``: eight who ask a previewer that holds nothing.
The published file is made before, as the worker does.

The peer is what one would write by hand: a count over the tags' Parquet files (with the event rule: a join with the
counts of thirty days), nothing but the size; ours adds shares, breakdowns, reach, overlaps and examples.
``peer_published`` counts over our published file. Tags are made up beside the generated customers. Milliseconds on the
clock; ``cpu`` are those of all threads. It holds when first, again, events and crowd all do. The last line is JSON.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa

from aimwell.analysis.bitmaps import SegmentBitmaps, number_members
from aimwell.analysis.preview import Previewer
from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.segments import read_rule_types
from aimwell.engine.published import publish
from aimwell.engine.rule import Rule
from aimwell.engine.workspace import Reader, Workspace
from bench.generated import AS_OF, CUSTOMERS_BY_SCALE, make_workspace
from bench.result import emit, peak_memory, read_scale

PEOPLE = 8
TAG_LIMIT, EVENT_LIMIT, CROWD_LIMIT = 100.0, 300.0, 250.0
STAGES = ("prospect", "new", "active", "declining", "dormant", "lost")
SEGMENTS = 20


def make_tags(customers: int) -> pa.Table:
    """120 tags: whole numbers, reals, flags and texts, a fifth of them partly unknown."""
    rng = np.random.default_rng(12)
    ids = pa.array([f"c{number:08d}" for number in range(customers)])
    columns: dict[str, pa.Array] = {
        "customer_id": ids,
        "as_of": pa.array(np.full(customers, (AS_OF - AS_OF.fromordinal(719_163)).days, np.int32)).cast(
            pa.date32()
        ),
        "run_id": pa.array(np.zeros(customers, np.int32)).cast(pa.string()),
        "recency_days": pa.array(rng.integers(1, 400, customers)),
        "revenue_365d": pa.array(np.round(rng.lognormal(4, 1.2, customers), 2)),
        "lifecycle_stage": pick(STAGES, rng.integers(0, len(STAGES), customers)),
        "value_tier": pick(("high", "middle", "low"), rng.integers(0, 3, customers)),
        "is_best_20": pa.array(rng.random(customers) < 0.2),
    }
    for name in ("email", "phone", "address"):
        columns[f"{name}_known"] = pa.array(rng.random(customers) < 0.9)
    for name in ("email", "sms", "call", "mail"):
        columns[f"consent_{name}"] = pa.array(rng.random(customers) < 0.6, mask=rng.random(customers) < 0.1)
    for number in range(70):
        columns[f"count_{number}"] = pa.array(rng.poisson(3, customers), mask=empty(rng, customers, number))
    for number in range(30):
        values = np.round(rng.lognormal(2, 1, customers), 3)
        columns[f"real_{number}"] = pa.array(values, mask=empty(rng, customers, number))
    for number in range(8):
        columns[f"text_{number}"] = pick(
            tuple(f"v{code}" for code in range(40)), rng.integers(0, 40, customers)
        )
    return pa.table(columns)


def empty(rng: np.random.Generator, customers: int, number: int) -> np.ndarray | None:
    return rng.random(customers) < 0.3 if number % 5 == 0 else None


def pick(values: tuple[str, ...], codes: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values)).cast(
        pa.string()
    )


def prepare(customers: int, workspace: Workspace) -> None:
    with workspace.read() as reader:
        have = reader.query("SELECT COUNT(*) AS n FROM tags").column("n")[0].as_py()
        columns = reader.query("SELECT * FROM tags LIMIT 0").column_names
    if have != customers or "count_0" not in columns:
        with workspace.run("analysis", as_of=AS_OF) as run:
            run.replace("tags", make_tags(customers))
    publish(workspace)


def list_tag_rules() -> list[str]:
    """Sixty rules that touch 1 to 4 tags each, most of them tags that no rule before has touched."""
    rng = np.random.default_rng(5)
    rules = []
    for number in range(60):
        parts = [f"count_{int(rng.integers(0, 70))} >= {int(rng.integers(1, 7))}"]
        if number % 2:
            parts.append(f"real_{int(rng.integers(0, 30))} > {float(rng.integers(2, 20))}")
        if number % 3 == 0:
            parts.append(f"(recency_days < {int(rng.integers(30, 300))} or is_best_20)")
        if number % 4 == 0:
            parts.append(f"text_{int(rng.integers(0, 8))} in ('v1', 'v2', 'v3')")
        rules.append(" and ".join(parts))
    return rules


def list_event_rules() -> list[str]:
    names = ("Product Viewed", "Product Added", "Checkout Started", "Email Opened")
    channels = ("web", "app", "mini_programme", "email")
    pairs = itertools.product(names, channels)
    return [
        f"did '{name}' {1 + number % 3} times in 30 days where channel = '{channel}' and recency_days < {100 + number}"
        for number, (name, channel) in enumerate(pairs)
    ]


def time_each(rules: list[Rule], ask: Callable[[Rule], object]) -> list[float]:
    costs = []
    for rule in rules:
        start = time.perf_counter()
        ask(rule)
        costs.append((time.perf_counter() - start) * 1000)
    return costs


def time_crowd(rules: list[Rule], ask: Callable[[Rule], object]) -> list[float]:
    """The same rules shared out to eight threads."""
    costs: list[float] = []
    threads = [
        threading.Thread(target=lambda part=rules[number::PEOPLE]: costs.extend(time_each(part, ask)))
        for number in range(PEOPLE)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return costs


def time_cpu(rules: list[Rule], ask: Callable[[Rule], object]) -> list[float]:
    """CPU milliseconds of all threads: what is left when nobody else is busy."""
    costs = []
    for rule in rules:
        start = time.process_time()
        ask(rule)
        costs.append((time.process_time() - start) * 1000)
    return costs


def time_published(workspace: Workspace, texts: list[str]) -> list[float]:
    costs = []
    with workspace.published() as published:
        for text in texts:
            start = time.perf_counter()
            published.query(f"SELECT COUNT(*) FROM tags WHERE {text}")
            costs.append((time.perf_counter() - start) * 1000)
    return costs


def find_p95(costs: list[float]) -> float:
    return float(np.quantile(costs, 0.95))


def time_peer(workspace: Workspace, texts: list[str], events: list[str]) -> tuple[list[float], list[float]]:
    """A count by hand over Parquet; the rules' texts are SQL but for the event part."""
    folder = workspace.warehouse_folder
    connection = duckdb.connect(config={"threads": 2, "temp_directory": tempfile.gettempdir()})
    connection.execute("SET TimeZone = 'UTC'")
    tags = f"read_parquet('{folder}/tags/*.parquet')"
    costs, event_costs = [], []
    for text in texts:
        start = time.perf_counter()
        connection.execute(f"SELECT COUNT(*) FROM {tags} WHERE {text}").fetchone()
        costs.append((time.perf_counter() - start) * 1000)
    first = AS_OF - timedelta(days=30)
    for text in events:
        name, channel = text.split("'")[1], text.split("'")[3]
        least, recency = text.split("' ")[1].split(" ")[0], text.rsplit(" ", 1)[1]
        start = time.perf_counter()
        connection.execute(
            f"SELECT COUNT(*) FROM {tags} AS t JOIN (SELECT customer_id FROM read_parquet('{folder}/events/*.parquet') "
            f"WHERE occurred_on >= DATE '{first}' AND occurred_on < DATE '{AS_OF}' AND name = '{name}' "
            f"AND channel = '{channel}' GROUP BY customer_id HAVING COUNT(*) >= {least}) AS e "
            f"ON e.customer_id = t.customer_id WHERE t.recency_days < {recency}"
        ).fetchone()
        event_costs.append((time.perf_counter() - start) * 1000)
    return costs, event_costs


def make_previewer(reader: Reader, bitmaps: SegmentBitmaps) -> Previewer:
    return Previewer(reader, read_rule_types(reader), as_of=AS_OF, bitmaps=bitmaps)


def main() -> None:
    scale = read_scale(str(__doc__).split("\n", 1)[0])
    customers = CUSTOMERS_BY_SCALE[scale]
    workspace = make_workspace(scale)
    prepare(customers, workspace)
    texts, events = list_tag_rules(), list_event_rules()
    rules = [parse_rule(text) for text in texts]
    rng = np.random.default_rng(9)
    maps = {f"s{number}": number_members(rng.random(customers) < 0.3) for number in range(SEGMENTS)}
    with workspace.read() as reader:
        start = time.perf_counter()
        bitmaps = SegmentBitmaps(pa.nulls(customers, pa.string()), maps)
        previewer = make_previewer(reader, bitmaps)
        opening = time.perf_counter() - start
        cold = time_each(rules, previewer.preview)
        start = time.perf_counter()
        previewer.warm([name for name in read_rule_types(reader) if name[:5] in ("count", "real_", "text_")])
        warming = time.perf_counter() - start
        warm = time_each(rules, previewer.preview)
        cpu = time_cpu(rules, previewer.preview)
        crowd = time_crowd(rules * 3, previewer.preview)
        # Eight people come to a service that holds nothing yet.
        crowd_first = time_crowd(rules, make_previewer(reader, bitmaps).preview)
        happened = time_each([parse_rule(text) for text in events], previewer.preview)
        # The same again by someone who holds nothing yet.
        cold_cpu = time_cpu(rules, make_previewer(reader, bitmaps).preview)
        served = make_previewer(reader, bitmaps)
        served.prefetch()
        fetching = time_each(rules, served.preview)
        served.close()
    peer, peer_events = time_peer(workspace, texts, events)
    peer_published = time_published(workspace, texts)
    figures = {
        "opening_s": round(opening, 2),
        "warming_s": round(warming, 2),
        "memory_mb": round(peak_memory()),
        "tags_first_p50": round(float(np.median(cold)), 1),
        "tags_first_p95": round(find_p95(cold), 1),
        "tags_first_cpu_p95": round(find_p95(cold_cpu), 1),
        "tags_fetching_p95": round(find_p95(fetching), 1),
        "tags_again_cpu_p95": round(find_p95(cpu), 1),
        "tags_again_p50": round(float(np.median(warm)), 1),
        "tags_again_p95": round(find_p95(warm), 1),
        "crowd_p50": round(float(np.median(crowd)), 1),
        "crowd_p95": round(find_p95(crowd), 1),
        "crowd_first_p50": round(float(np.median(crowd_first)), 1),
        "crowd_first_p95": round(find_p95(crowd_first), 1),
        "events_p50": round(float(np.median(happened)), 1),
        "events_p95": round(find_p95(happened), 1),
        "peer_published_p95": round(find_p95(peer_published), 1),
        "peer_events_p95": round(find_p95(peer_events), 1),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    holds = (
        max(figures["tags_first_p95"], figures["tags_again_p95"]) <= TAG_LIMIT
        and figures["events_p95"] <= EVENT_LIMIT
        and figures["crowd_p95"] <= CROWD_LIMIT
    )
    emit(
        claim=f"preview of a tag rule at {customers:,} customers, columns first asked for, p95 ≤ {TAG_LIMIT:g} ms",
        ours=find_p95(cold),
        peer=find_p95(peer),
        unit="ms",
        holds=holds,
        scale=scale,
        **figures,
    )
    workspace.close()


if __name__ == "__main__":
    main()
