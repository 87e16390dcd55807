"""Normal forms: many spellings become one, what is none is refused, and a normal form stays as it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.data.identity.names import Name, find_root, normalise_name, split_name
from aimwell.data.identity.normalise import (
    normalise_date,
    normalise_email,
    normalise_id_number,
    normalise_key,
    normalise_member,
    normalise_phone,
    normalise_postcode,
    normalise_text,
)

NORMAL: list[Callable[[str], str | None]] = [
    normalise_date,
    normalise_email,
    normalise_id_number,
    normalise_key,
    normalise_member,
    normalise_phone,
    normalise_postcode,
    normalise_text,
    normalise_name,
]
LIKELY = st.one_of(
    st.text(max_size=30),
    st.text("0123456789+-() .０１２３８６Xx", max_size=22),
    st.text("abcAB.+@gmailcom。＠", max_size=24),
    st.text("張张伟先生女士欧阳陽 Dr.john,", max_size=10),
)


@pytest.mark.parametrize("normal", NORMAL, ids=lambda one: one.__name__)
@given(value=LIKELY)
def test_a_normal_form_stays_as_it_is(normal: Callable[[str], str | None], value: str) -> None:
    once = normal(value)
    assert once is None or normal(once) == once


@pytest.mark.parametrize(
    "spelling",
    [
        "13912345670",
        "+86 139 1234 5670",
        "0086-139-1234-5670",
        "８６１３９１２３４５６７０",
        "139-1234-5670",
        "13912345670.0",
    ],
)
def test_spellings_of_a_mobile_number(spelling: str) -> None:
    assert normalise_phone(spelling) == "+8613912345670"


def test_landlines_and_foreign_numbers() -> None:
    assert normalise_phone("021-6123 4567") == normalise_phone("(021)61234567") == "+862161234567"
    assert normalise_phone("+44 20 7946 0958") == "+442079460958"
    assert normalise_phone("020 7946 0958", "GB") == "+442079460958"
    assert normalise_phone("12345") is None
    assert normalise_phone("无") is None


def test_mail_addresses() -> None:
    assert normalise_email(" Ann.Lee+shop@Gmail.com ") == normalise_email("annlee@googlemail.com")
    assert normalise_email("ａｎｎ＠１６３．ｃｏｍ") == "ann@163.com"
    assert normalise_email("a.b+c@company.cn") == "a.b+c@company.cn"
    assert normalise_email("nobody") is None


def test_id_numbers_have_a_check_digit() -> None:
    assert normalise_id_number("11010519491231002x") == "11010519491231002X"
    assert normalise_id_number("110105194912310021") is None
    assert normalise_id_number("110105491231002") == "11010519491231002X"


def test_dates_and_names() -> None:
    assert (
        normalise_date("1990年3月5日")
        == normalise_date("19900305")
        == normalise_date("5/3/1990")
        == "1990-03-05"
    )
    assert normalise_name("歐陽娜娜 女士") == "欧阳娜娜"
    assert split_name(None, None, "欧阳娜娜") == Name("娜娜", "欧阳")
    assert split_name(None, None, "Dr John H. Smith") == Name("john", "smith")
    assert find_root("张伟") == find_root("章纬") == find_root("zhang wei")
