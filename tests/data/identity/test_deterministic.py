"""Joined by identifiers: blocked and shared values join nobody, and contradictions are listed, not joined."""

from __future__ import annotations

import pyarrow as pa

from aimwell.core.tables import IDENTIFIERS
from aimwell.data.identity.deterministic import resolve
from aimwell.data.identity.limits import Limits

FIRST, SECOND = "11010519491231002X", "440524188001010014"


def table(*rows: tuple[str, str, str]) -> pa.Table:
    return IDENTIFIERS.build(
        [
            {"record_id": record, "kind": kind, "value": value, "usable": True, "source": "s", "run_id": "r"}
            for record, kind, value in rows
        ]
    )


def test_a_shared_phone_joins_all_its_records() -> None:
    found = resolve(table(("a", "phone", "1"), ("b", "phone", "1"), ("c", "phone", "1"), ("d", "phone", "2")))
    assert [(match.left, match.right) for match in found.matches] == [("a", "b"), ("a", "c")]
    assert found.contradictions == []


def test_two_id_numbers_are_not_joined_by_a_phone() -> None:
    found = resolve(
        table(("a", "phone", "1"), ("b", "phone", "1"), ("a", "id_number", FIRST), ("b", "id_number", SECOND))
    )
    assert found.matches == []
    assert [(one.left, one.right, one.differs) for one in found.contradictions] == [("a", "b", "id_number")]


def test_nor_through_a_third_record() -> None:
    found = resolve(
        table(
            ("a", "id_number", FIRST),
            ("a", "email", "x"),
            ("b", "email", "x"),
            ("b", "phone", "1"),
            ("c", "phone", "1"),
            ("c", "id_number", SECOND),
        )
    )
    assert [(match.left, match.right) for match in found.matches] == [("a", "b")]
    assert [(one.left, one.right) for one in found.contradictions] == [("b", "c")]


def test_openids_of_different_apps_do_not_contradict() -> None:
    rows = [("a", "phone", "1"), ("b", "phone", "1"), ("a", "openid:shop", "o1"), ("b", "openid:club", "o2")]
    assert len(resolve(table(*rows)).matches) == 1
    rows[-1] = ("b", "openid:shop", "o2")
    assert len(resolve(table(*rows)).contradictions) == 1


def test_stand_ins_are_blocked() -> None:
    limits = Limits(blocked=frozenset({"+862161234567"}))
    for kind, value in [
        ("phone", "+8613800138000"),
        ("phone", "+862161234567"),
        ("phone", "+8600000000"),
        ("email", "test@163.com"),
        ("device", "00000000-0000-0000-0000-000000000000"),
        ("member", "00000000"),
    ]:
        assert limits.is_blocked(kind, value), value
    assert not limits.is_blocked("phone", "+8613912345670")
    assert limits.most_of("openid:shop") == 3
