"""Ids are unique and list in the order in which they were made."""

from __future__ import annotations

import time

from aimwell.core.ids import new_id


def test_ids_are_unique() -> None:
    assert len({new_id("run") for _ in range(10_000)}) == 10_000


def test_ids_sort_by_time() -> None:
    first = new_id("run")
    time.sleep(0.003)
    assert first < new_id("run")


def test_an_id_names_its_kind() -> None:
    assert new_id("plan").startswith("plan_")
    assert len(new_id("plan")) == len("plan_") + 12 + 16
