"""What single sections show and leave out."""

from __future__ import annotations

import pytest

from aimwell.report import render
from tests.report.payload import make_payload
from tests.report.test_page import read_specs


@pytest.fixture(scope="module")
def page() -> str:
    return render(make_payload(), currency="USD")


def test_the_propensities_share_one_table(page: str) -> None:
    assert page.count("Propensity to buy, by department") == 1
    assert (
        "预测 ÷ 实际" in page and "calibration slope" not in page.split("Propensity to buy, by dep")[1][:4000]
    )


def test_actions_without_customers_are_left_out() -> None:
    payload = make_payload()
    payload["strategy"]["by_action"].append(
        {"action_id": "nobody:sms", "title": {"en": "For nobody", "zh": "无人"}, "customers": 0, "cost": 0.0}
    )
    assert "For nobody" not in render(payload, currency="USD")


def test_what_the_promise_rests_on_is_said_where_it_is_known() -> None:
    payload = make_payload()
    payload["strategy"].pop("basis", None)
    assert "What the promise rests on" not in render(payload, currency="USD")
    payload["strategy"]["basis"] = {
        "sentences": [{"en": "Personalising is proven.", "zh": "个性化已被证实。"}]
    }
    page = render(payload, currency="USD")
    assert "What the promise rests on" in page and "承诺依据什么" in page
    assert "Personalising is proven." in page and "个性化已被证实。" in page


@pytest.mark.parametrize("promised", [None, {"estimate": -77.0, "lower": -77.0, "upper": -77.0}])
def test_a_wave_that_explores_promises_nothing(promised: object) -> None:
    payload = make_payload()
    wave = {"plan_id": "pilot", "wave": "pilot"}
    payload["strategy"] |= wave | {"method": "randomised", "expected_profit": promised, "frontier": []}
    payload["evaluation"] |= wave | {"promised": promised, "promise_ratio": None}
    page = render(payload, currency="USD")
    assert "nothing promised: this wave explores" in page and "未作承诺：本阶段用于探索" in page
    assert "−$77.00" not in page and not any(
        row["name"]["en"] == "promised" for spec in read_specs(page) for row in spec.get("rows", [])
    )


@pytest.mark.parametrize(
    ("target", "change", "shown"),
    [
        (33.0, 0.05, ("$33.00", "+5%")),
        (None, 0.05, ("+5%",)),
        (33.0, None, ("$33.00",)),
        (None, None, ("—",)),
    ],
)
def test_a_target_is_a_value_and_a_change(
    target: float | None, change: float | None, shown: tuple[str, ...]
) -> None:
    payload = make_payload()
    payload["goal"] |= {"target": target, "target_change": change}
    tile = render(payload, currency="USD").split(">Target</span>", 1)[1][:300]
    assert all(text in tile for text in shown)


def test_shares_end_at_a_hundred_percent(page: str) -> None:
    shares = [
        spec for spec in read_specs(page) if spec["kind"] == "bars" and spec["axis"]["unit"] == "percent"
    ]
    for spec in shares:
        most = max(value or 0 for series in spec["series"] for value in series["values"])
        assert spec["axis"]["upper"] == (1 if most > 0.5 else None)
