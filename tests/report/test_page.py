"""The whole page: complete, self-contained, safe, and never broken by what is missing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import NotReady
from aimwell.report import assets, render
from tests.report.payload import make_payload
from tests.report.shapes import LONG_NAME

SECTIONS = ("overview", "goal", "data", "analysis", "strategy", "deployment", "evaluation")
INJECTION = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
VOID = {"meta", "br"}


class Outline(HTMLParser):
    """Which elements open, and whether they close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.found: dict[str, int] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.found[tag] = self.found.get(tag, 0) + 1
        assert "style" not in named, f"the policy forbids the inline style of <{tag}>"
        assert not any(name.startswith("on") for name in named), f"an inline handler on <{tag}>"
        self.ids += [named["id"] or ""] if "id" in named else []
        self.links += [named["href"] or ""] if "href" in named else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found[tag] = self.found.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(re.sub(r"(<script[^>]*>).*?</script>", r"\1</script>", page, flags=re.S))
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def page() -> str:
    return render(make_payload(), currency="USD")


def read_specs(page: str) -> list[dict[str, Any]]:
    blocks = re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)
    return [spec for spec in map(json.loads, blocks) if "kind" in spec]


def test_the_page_is_well_formed_with_every_section(page: str) -> None:
    found = outline(page)
    assert set(SECTIONS) <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links} <= set(found.ids)


def test_nothing_comes_from_outside(page: str) -> None:
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"(?:src|href|action)=\"?(?:https?:)?//", own)
    assert "url(" not in own and "@import" not in own
    assert not {"link", "iframe", "img", "object", "form"} & set(outline(page).found)


def test_the_policy_names_exactly_what_stands_in_the_page(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None and "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    blocks = re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", page, re.S)
    digests = [base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks]
    assert len(digests) == 3
    assert all(f"'sha256-{digest}'" in policy[1] for digest in digests)


def test_every_chart_that_a_marketer_expects_is_there(page: str) -> None:
    kinds = [spec["kind"] for spec in read_specs(page)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "curves": 5,
        "bars": 2,
        "forest": 9,
        "heat": 1,
    }


def test_the_frontier_carries_todays_plan(page: str) -> None:
    frontier = next(spec for spec in read_specs(page) if spec["kind"] == "curves" and spec["marks"])
    assert frontier["marks"][0]["name"] == {"en": "today's plan", "zh": "今日计划"}
    assert frontier["marks"][0]["x"] == 2500.0


def test_both_languages_stand_in_the_page(page: str) -> None:
    for words in ("Incremental profit", "增量利润", "Why these customers", "为何是这些客户", "2017年12月1日"):
        assert words in page


def test_simulated_outcomes_are_labelled_and_real_ones_are_not(page: str) -> None:
    assert page.count("simulated 模拟") > 15
    payload = make_payload() | {"simulated": False, "truth": {}}
    for part in (
        payload,
        payload["evaluation"],
        *[w["evaluation"] for r in payload["rounds"] for w in r["waves"]],
    ):
        part["simulated"] = False
    assert "simulated 模拟" not in render(payload, currency="USD")


def test_names_are_escaped_everywhere() -> None:
    page = render(_replace_words(make_payload()), currency="USD")
    shown = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert "<img" not in shown and "alert(1)</script>" not in page
    assert "&lt;img src=x" in shown
    assert outline(page).found["script"] == outline(render(make_payload(), currency="USD")).found["script"]


def _replace_words(value: Any) -> Any:
    """Every text of the payload made hostile."""
    if isinstance(value, dict):
        return {key: _replace_words(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replace_words(inner) for inner in value]
    return INJECTION if isinstance(value, str) else value


def test_a_long_name_is_whole_in_its_table(page: str) -> None:
    assert len(LONG_NAME) >= 60
    assert LONG_NAME in page


def test_an_empty_payload_teaches_what_is_lacking() -> None:
    page = render({}, currency="CNY")
    assert set(SECTIONS) <= set(outline(page).ids)
    assert page.count("Not done yet") == page.count("尚未进行") == 7
    assert "<code>aimwell round</code>" in page


def test_a_skipped_step_says_its_own_lack() -> None:
    lack = {"en": "There are no orders.", "zh": "没有订单。"}
    page = render({"models": {"status": "skipped", "lacks": [lack]}}, currency="CNY")
    assert "There are no orders." in page and "没有订单。" in page


@pytest.mark.parametrize("key", sorted(make_payload()))
def test_any_key_may_be_missing_or_null(key: str) -> None:
    payload = make_payload()
    missing = {name: part for name, part in payload.items() if name != key}
    assert outline(render(missing, currency="USD")).found["section"] == len(SECTIONS)
    assert outline(render(payload | {key: None}, currency="USD")).found["section"] == len(SECTIONS)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_value_may_be_odd(data: st.DataObject) -> None:
    payload = make_payload()
    place: Any = payload
    for _ in range(data.draw(st.integers(1, 5))):
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key]:
            break
        parent, place = place, place[key]
    else:
        key, place = key, parent
    place[key] = data.draw(
        st.sampled_from([None, [], {}, "", "x", -1, 0.0, True, float("nan"), [[None]], [None]])
    )
    assert outline(render(payload, currency="USD")).found["section"] == len(SECTIONS)


def test_the_library_missing_is_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "files", lambda _: tmp_path)
    with pytest.raises(NotReady) as raised:
        assets.load_assets()
    assert raised.value.code == "report.no_charts"
    assert raised.value.remedy is not None and "make install" in raised.value.remedy.render("en")
