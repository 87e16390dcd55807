"""Ids are unique and list in the order in which they were made; those that are given have one form."""

from __future__ import annotations

import time

import pytest

from aimwell.core.ids import fold_id, new_id


def test_ids_are_unique() -> None:
    assert len({new_id("run") for _ in range(10_000)}) == 10_000


def test_ids_sort_by_time() -> None:
    first = new_id("run")
    time.sleep(0.003)
    assert first < new_id("run")


def test_an_id_names_its_kind() -> None:
    assert new_id("plan").startswith("plan_")
    assert len(new_id("plan")) == len("plan_") + 12 + 16


@pytest.mark.parametrize(
    ("given", "folded"),
    [
        ("１０００３", "10003"),
        (" Ａ－１０００３　", "A-10003"),
        ("ｖｉｐ＿７～！", "vip_7~!"),
        ("李　四", "李 四"),
        ("10003", "10003"),
    ],
)
def test_full_width_signs_of_a_customer_number_are_the_plain_ones(given: str, folded: str) -> None:
    assert fold_id(given) == folded
    assert fold_id(folded) == folded


@pytest.mark.parametrize("number", ["007", "a-B", "a²", "①", "ﬁ7", "Å", "ｱ1", "ﾞ", "㎏", "张三", "١٠"])
def test_nothing_else_of_a_customer_number_is_folded(number: str) -> None:
    assert fold_id(number) == number
