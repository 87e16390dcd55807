"""Limits as people write them into the settings: read exactly, and refused with file, key, value and remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from aimwell.core.errors import BadInput
from aimwell.engine.settings import LimitSettings, Settings, load_settings, write_settings
from aimwell.strategy.asked_limits import build_asked_limits, list_columns
from aimwell.strategy.inputs import Limit
from tests.strategy.world import make_all_actions

TRAITS = {
    "region": ("North", "South", "South", ""),
    "customers.city": ("上海", "上海", "北京", "北京"),
    "segment:vip": ("inside", "outside", "outside", "inside"),
    "visits": ("3", "12", "3", ""),
    "is_vip": ("true", "false", "", "true"),
}


def build(**asked: Any) -> Limit:
    (limit,) = build_asked_limits([LimitSettings(**{"id": "mine", **asked})], make_all_actions(), TRAITS)
    return limit


def test_a_limit_counts_what_it_names() -> None:
    limit = build(unit="money", at_most=300, channel="sms", where={"region": ["North", "South"]})
    assert (limit.unit, limit.limit, limit.sense) == ("money", 300.0, "at_most")
    assert limit.actions is not None
    assert all(name.endswith(":sms") for name in limit.actions)
    assert limit.where == (("region", ("North", "South")),)
    assert limit.title.render("zh") == "费用，短信，region = North, South"
    assert build(unit="contacts", at_most=500, hours=8).limit == 4_000
    assert build(unit="contacts", at_least=5).actions is None
    share = build(unit="percent", at_least=5, segment="vip", title="会员占比")
    assert share.where == (("segment:vip", ("inside",)),)
    assert share.title.render("en") == "会员占比"
    assert build(unit="contacts", at_most=1, where={"visits": 3}).where == (("visits", ("3",)),)
    assert build(unit="contacts", at_most=1, where={"is_vip": True}).where == (("is_vip", ("true",)),)
    one = build(unit="contacts", at_most=1, offer="a_20", channel="mail")
    assert one.actions == ("a_20:mail",)
    assert one.title.render("en") == "Contacts, direct mail, a_20"


@pytest.mark.parametrize(
    ("asked", "key", "words"),
    [
        ({"at_most": 1, "at_least": 1}, "at_most", "exactly one"),
        ({}, "at_most", "exactly one"),
        ({"at_most": 1, "channel": "fax"}, "channel", "call, email, mail, sms"),
        ({"at_most": 1, "offer": "a_2"}, "offer", "a_20, b_15"),
        ({"at_most": 1, "slot": "night"}, "slot", "Known are"),
        ({"at_most": 1, "where": {"region": "Nort"}}, "region", "South, North"),
        ({"at_most": 5, "unit": "percent"}, "unit", "where or segment"),
        ({"at_most": 101, "unit": "percent", "segment": "vip"}, "at_most", "0 to 100"),
        ({"at_least": 101, "unit": "percent", "segment": "vip"}, "at_least", "0 to 100"),
        ({"at_most": 5, "unit": "percent", "segment": "vip", "hours": 2}, "hours", "0 to 100"),
        ({"at_most": 5, "id": "budget"}, "id", "name of its own"),
    ],
)
def test_a_limit_that_cannot_be_used_is_named_with_its_remedy(
    asked: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(BadInput) as caught:
        build(**asked)
    error = caught.value
    assert error.code == "strategy.bad_asked_limit"
    name = asked.get("id", "mine")
    assert error.where["column"] == f"strategy.limits.{name}.{key}"
    assert words in error.render("en")
    # Names of settings stay as they are; no English sentence does.
    told = re.sub(r"\[\[.*?\]\]|at_most|at_least|where|segment|champions", "", error.render("zh"))
    assert not re.search(r"[A-Za-z]+ [A-Za-z]+ [A-Za-z]+", told)


def test_two_limits_of_a_name_and_persons_are_refused() -> None:
    twice = [LimitSettings(id="a", at_most=1), LimitSettings(id="a", at_least=1)]
    with pytest.raises(BadInput):
        build_asked_limits(twice, make_all_actions(), TRAITS)
    with pytest.raises(BadInput, match="persons"):
        list_columns([LimitSettings(id="a", at_most=1, where={"customers.email": "x"})])
    asked = [
        LimitSettings(id="a", at_most=1, where={"region": "x"}, segment="vip"),
        LimitSettings(id="b", at_most=1, where={"region": "y"}),
    ]
    assert list_columns(asked) == ("region", "segment:vip")


@pytest.mark.parametrize(
    ("written", "key", "words"),
    [
        ('id = "a"\nat_most = -1', "strategy.limits.0.at_most", "at least 0"),
        ('id = "a"\nat_most = nan', "strategy.limits.0.at_most", "number"),
        ('id = "a"\nat_least = inf', "strategy.limits.0.at_least", "number"),
        ('id = "a b"\nat_most = 1', "strategy.limits.0.id", "letters"),
        ('id = "a"\nat_most = 1\nunit = "yuan"', "strategy.limits.0.unit", "money"),
        ('id = "a"\nat_most = 1\nchanel = "sms"', "strategy.limits.0.chanel", "no such setting"),
        ("at_most = 1", "strategy.limits.0.id", "needed"),
    ],
)
def test_a_setting_of_a_limit_is_checked_when_it_is_read(
    tmp_path: Path, written: str, key: str, words: str
) -> None:
    file = tmp_path / "aimwell.toml"
    file.write_text(f"[[strategy.limits]]\n{written}\n", encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_settings(file)
    assert caught.value.where["column"] == key
    assert words in caught.value.render("en")


def test_limits_survive_being_written_and_read(tmp_path: Path) -> None:
    where = {"region": ("North", 'Q"uote'), "customers.city": "上海", "visits": 3}
    limits = (
        LimitSettings(id="one", unit="contacts", at_most=500, hours=8, channel="sms", where=where),
        LimitSettings(id="two", unit="percent", at_least=2.5, segment="vip", title="会员"),
    )
    settings = Settings()
    strategy = settings.strategy.model_copy(update={"limits": limits})
    file = tmp_path / "aimwell.toml"
    write_settings(settings.model_copy(update={"strategy": strategy}), file)
    assert load_settings(file).strategy.limits == limits
