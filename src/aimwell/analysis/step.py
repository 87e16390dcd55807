"""Step 3 of a round: describes every customer by tags, sorts them into segments, and sums up the whole.

Reads customers, products, order_lines, events, consents, signals, scores, segment_members and the definitions of tags
and segments; writes tags, tag_history, segments, segment_members.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pyarrow as pa

from aimwell.analysis.lifecycle import count_stages
from aimwell.analysis.membership import carry_members
from aimwell.analysis.rfm import count_cells
from aimwell.analysis.schedule import find_schedule, keep_schedule
from aimwell.analysis.segments import (
    Membership,
    find_members,
    list_rules,
    load_segments,
    render_rule_sql,
)
from aimwell.analysis.summary import (
    MAIN_TAGS,
    summarise_distributions,
    summarise_overlaps,
    summarise_segments,
    summarise_tags,
)
from aimwell.analysis.support import Support, is_essential
from aimwell.analysis.tags import ComputedTags, compute_tags
from aimwell.analysis.value import measure_curve
from aimwell.core.errors import BadInput
from aimwell.core.steps import StepResult
from aimwell.core.tables import SEGMENTS, Type
from aimwell.core.text import Text, say
from aimwell.engine.rule_json import rule_to_json
from aimwell.engine.rule_types import read_rule_types
from aimwell.engine.workspace import Run, Workspace

_LONGEST_WINDOW = 365


def describe(workspace: Workspace, *, as_of: date) -> StepResult:
    """Compute tags and segments as of ``as_of`` and keep them; skipped when there are no customers.

    BadInput when ``as_of`` is not after the first order.
    """
    with workspace.run("analysis", as_of=as_of) as run:
        _check_begun(run)
        computed = compute_tags(workspace, run)
        if not computed.customers:
            return StepResult("analysis", "skipped", {}, (_explain_nobody(),))
        types = read_rule_types(run)
        segments, left_out = load_segments(workspace.store, types)
        membership = find_members(run, segments, types, as_of=as_of)
        run.replace("segments", _build_segments(run, membership, types))
        run.replace("segment_members", carry_members(run, membership.to_rows(), as_of=as_of, run_id=run.id))
        coming = find_schedule(run, list_rules(segments), after=as_of)
        summary = _summarise(run, computed, membership)
    keep_schedule(workspace, coming)
    lacks = (*computed.lacks, *_explain_history(computed.support), *left_out)
    is_partial = bool(left_out) or any(is_essential(need) for need in computed.missing.values())
    return StepResult("analysis", "partial" if is_partial else "done", summary, lacks)


def _check_begun(run: Run) -> None:
    """Before the first order every tag would be empty, and the useful ones would be overwritten."""
    first = run.query("SELECT min(ordered_on) AS day FROM order_lines")["day"][0].as_py()
    if first is not None and first >= run.as_of:
        raise BadInput(
            "analysis.before_first_order",
            say(
                "Before {as_of} there are no orders: the first is of {day}.",
                as_of=run.as_of.isoformat(),
                day=first.isoformat(),
            ),
            remedy=say("Choose a later day with --as-of, or leave it out."),
            where={"value": run.as_of.isoformat()},
        )


def _summarise(run: Run, computed: ComputedTags, membership: Membership) -> dict[str, Any]:
    columns = ", ".join(dict.fromkeys(("revenue_365d", *MAIN_TAGS)))
    table = run.query(f"SELECT {columns} FROM tags ORDER BY customer_id")
    return {
        "as_of": run.as_of.isoformat(),
        "customers": computed.customers,
        "tags": summarise_tags(computed.tags, computed.known, computed.customers),
        "computed": computed.changes.explain().both(),
        "segments": summarise_segments(membership, table, computed.missing),
        "overlaps": summarise_overlaps(membership),
        "rfm": {"cells": count_cells(run)},
        "lifecycle": count_stages(run),
        "value": measure_curve(table),
        "distributions": summarise_distributions(table, computed.tags),
    }


def _build_segments(run: Run, membership: Membership, types: dict[str, Type]) -> pa.Table:
    rules = list_rules(membership.segments)
    return SEGMENTS.build(
        [
            {
                "segment": segment.name,
                "title": segment.title.to_json(),
                "rule": json.dumps(rule_to_json(segment.rule), ensure_ascii=False),
                "sql": render_rule_sql(segment.rule, types, as_of=run.as_of, segments=rules),
                "size": size,
                "as_of": run.as_of,
                "run_id": run.id,
            }
            for segment, size in zip(membership.segments, membership.sizes, strict=True)
        ]
    )


def _explain_nobody() -> Text:
    return say("There are no customers yet. Add a source first: aimwell data add FILE --as order_lines")


def _explain_history(support: Support) -> tuple[Text, ...]:
    if not 0 < support.history_days < _LONGEST_WINDOW:
        return ()
    return (
        say(
            "The orders reach back {days} days only: tags of longer windows know no more than that.",
            days=support.history_days,
        ),
    )
