"""Segments: built in and the user's own, their sizes and overlaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aimwell.analysis.catalogue import CATALOGUE, VALUE_TITLES, describe_tag_rule
from aimwell.analysis.preview import preview_rule
from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.segments import (
    BUILT_IN,
    check_rule,
    count_overlaps,
    evaluate_customers,
    find_members,
    load_segments,
    read_as_of,
    read_segments,
    save_segment,
)
from aimwell.analysis.step import describe
from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.core.tables import Type
from aimwell.engine.rule import Compare, InSegment, Not, list_rule_tags
from aimwell.engine.rule_check import validate_rule
from aimwell.engine.rule_types import read_rule_types, read_tag_types
from tests.analysis.shop import AS_OF, load_shop, make_workspace

TYPES = {tag.name: tag.type for tag in CATALOGUE}


def test_built_in_segments_fit_the_catalogue_and_have_words() -> None:
    assert len(BUILT_IN) >= 10
    assert len({segment.name for segment in BUILT_IN}) == len(BUILT_IN)
    for segment in BUILT_IN:
        validate_rule(segment.rule, TYPES)
        assert segment.title.render("en") != segment.title.render("zh")
        words = describe_tag_rule(segment.rule)
        # No name in code is left in what people read.
        assert not any(name in words.render("zh") for name in list_rule_tags(segment.rule))
    assert set(VALUE_TITLES) <= set(TYPES)


def test_names_and_built_in_segments_are_guarded(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    rule = Compare("recency_days", ">", 30)
    for name in ("", "Late", "1st", "a b", "x" * 65, "'; --"):
        with pytest.raises(BadInput):
            save_segment(workspace.store, name, rule)
    with pytest.raises(Conflict):
        save_segment(workspace.store, "best_customers", rule)
    assert save_segment(workspace.store, "late_ones", rule, title="迟到 {of course}") == 1
    assert save_segment(workspace.store, "late_ones", rule, title="迟到 {of course}") == 1
    assert save_segment(workspace.store, "late_ones", Compare("recency_days", ">", 31)) == 2


def test_own_segments_are_found_and_those_that_no_longer_fit_are_said(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    save_segment(workspace.store, "late_ones", parse_rule("recency_days > 30"), title="迟到 {of course}")
    workspace.store.save_definition("segment", "by_text", {"rule": "recency_days <= 30", "title": "By text"})
    workspace.store.save_definition("segment", "broken", {"rule": "recency_days >"})
    workspace.store.save_definition("segment", "gone", {"rule": "attribute_gone = 'x'"})
    workspace.store.save_definition("segment", "on_gone", {"rule": "in segment gone or recency_days > 1"})
    workspace.store.save_definition("segment", "on_late", {"rule": "not in segment late_ones"})
    workspace.store.save_definition("segment", "ring_a", {"rule": "in segment ring_b"})
    workspace.store.save_definition("segment", "ring_b", {"rule": "in segment ring_a"})
    segments, lacks = load_segments(workspace.store, TYPES)
    own = {segment.name: segment for segment in segments if not segment.built_in}
    assert set(own) == {"late_ones", "by_text", "on_late"}
    assert own["on_late"].rule == Not(InSegment("late_ones"))
    assert own["late_ones"].title.render("zh") == "迟到 {of course}"
    assert [text.render("en").split(". ")[0] for text in lacks] == [
        "The segment broken was left out",
        "The segment gone was left out",
        "The segment on_gone was left out",
        "The segment ring_a was left out",
        "The segment ring_b was left out",
    ]


def test_members_sizes_and_overlaps_agree(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    with pytest.raises(NotReady), workspace.read() as reader:
        read_as_of(reader)
    describe(workspace, as_of=AS_OF)
    with workspace.read() as reader:
        assert read_as_of(reader) == AS_OF
        types = read_tag_types(reader.query("SELECT * FROM tags LIMIT 0").schema)
        membership = find_members(reader, BUILT_IN, types, as_of=AS_OF)
        kept = reader.query("SELECT segment, customer_id FROM segment_members ORDER BY segment, customer_id")
        rows = read_segments(reader)
    assert types["favourite_department"] is Type.TEXT
    assert types["is_best_20"] is Type.BOOLEAN
    found = sorted((row["segment"], row["customer_id"]) for row in membership.to_rows().to_pylist())
    assert found == [(row["segment"], row["customer_id"]) for row in kept.to_pylist()]
    assert ("coupon_redeemers", "ann") in found
    assert ("one_time_buyers", "ben") in found
    assert ("prospects", "cid") in found
    overlaps = np.array(count_overlaps(membership))
    assert overlaps.diagonal().tolist() == membership.sizes
    assert (overlaps == overlaps.T).all()
    sizes = {row["name"]: (row["size"], row["revenue_share"]) for row in rows}
    assert sizes["best_customers"] == (1, pytest.approx(38 / 44))


def test_a_preview_says_who_and_how_much(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    describe(workspace, as_of=AS_OF)
    with workspace.read() as reader:
        found = preview_rule(
            reader, parse_rule("event('Coupon Redeemed') >= 2 in 90 days"), TYPES, as_of=AS_OF
        )
        with pytest.raises(BadInput):
            preview_rule(reader, parse_rule("recency = 3"), TYPES, as_of=AS_OF)
    assert (found["size"], found["customers"], found["examples"]) == (1, 3, ["ann"])
    assert found["revenue_share"] == pytest.approx(38 / 44, abs=1e-6)
    assert "'Coupon Redeemed'" in found["sql"]


def test_some_customers_are_decided_as_all_would_be(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    describe(workspace, as_of=AS_OF)
    with workspace.read() as reader:
        types = read_rule_types(reader)
        everybody = find_members(reader, BUILT_IN, types, as_of=AS_OF)
        some = evaluate_customers(reader, BUILT_IN, ["ben", "ann", "nobody"], as_of=AS_OF)
    assert some.customers.to_pylist() == ["ann", "ben"]
    places = [everybody.customers.to_pylist().index(name) for name in ("ann", "ben")]
    assert (some.inside == everybody.inside[places]).all()


def test_a_rule_is_checked_against_what_the_data_know(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    describe(workspace, as_of=AS_OF)
    known = {segment.name: segment.rule for segment in BUILT_IN}
    with workspace.read() as reader:
        types = check_rule(
            reader, parse_rule("customers.household_size >= 2 and did 'Coupon Redeemed'"), known
        )
        assert types["customers.region"] is Type.TEXT
        for text, code in (
            ("did 'Coupon Redeemd'", "engine.unknown_event"),
            ("in segment best_customer", "engine.unknown_segment"),
            ("customers.regio = 'x'", "engine.unknown_tag"),
            ("not in segment mine", "engine.segment_circle"),
        ):
            with pytest.raises(BadInput) as caught:
                check_rule(reader, parse_rule(text), known, name="mine")
            assert caught.value.code == code
