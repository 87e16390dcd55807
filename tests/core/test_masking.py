"""What identifiers look like to those who need not know them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.masking import mask_identifier


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("phone", "13800138000", "138****8000"),
        ("phone", "+8613800138000", "+86138****8000"),
        ("phone", "12345", "*****"),
        ("phone", "+6591234567", "+65****4567"),
        ("phone", "0101234567", "01****4567"),
        ("email", "alice@example.com", "a***@example.com"),
        ("name", "王小明", "王**"),
        ("openid", "oABCDEF123", "oA****23"),
        ("member", "42", "**"),
    ],
)
def test_the_middle_is_hidden(kind: str, value: str, shown: str) -> None:
    assert mask_identifier(kind, value) == shown


@given(st.sampled_from(["phone", "email", "name", "address", "openid"]), st.text(min_size=1, max_size=30))
def test_nothing_is_shown_whole(kind: str, value: str) -> None:
    assert mask_identifier(kind, value) != value or "*" in value
