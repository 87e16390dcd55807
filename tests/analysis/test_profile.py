"""Customer 360: what is known is shown, who is unknown is met with the nearest ids."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from aimwell.analysis.profile import count_customers, list_customers, read_profile
from aimwell.analysis.step import describe
from aimwell.core.errors import BadInput, NotReady
from aimwell.core.tables import TABLES
from aimwell.core.text import say
from tests.analysis.shop import AS_OF, days_ago, load, load_shop, make_workspace
from tests.engine.scratch import build_events


def test_everything_about_a_customer_is_on_one_page(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    describe(workspace, as_of=AS_OF)
    score = {
        "customer_id": "ann",
        "model": "clv",
        "score": 9.0,
        "lower": 5.0,
        "upper": 13.0,
        "as_of": AS_OF,
        "run_id": "r",
    }
    item = {
        "plan_id": "p1",
        "customer_id": "ann",
        "action_id": "food:email",
        "expected_profit": 1.5,
        "standard_error": 0.5,
        "expected_cost": 0.1,
        "probability": 0.75,
        "explored": False,
        "reason": say("the end").to_json(),
        "run_id": "r",
    }
    load(workspace, scores=TABLES["scores"].build([score]), plan_items=TABLES["plan_items"].build([item]))
    with workspace.read() as reader:
        page = read_profile(reader, "ann", limit=2)
        stranger = read_profile(reader, "cid")
    tags = {row["name"]: row["value"] for row in page["tags"]}
    assert tags["recency_days"] == 1
    assert tags["attribute_household_size"] == "2"
    stage = next(row for row in page["tags"] if row["name"] == "lifecycle_stage")
    assert (stage["value"], stage["value_title"]) == ("active", {"en": "Active", "zh": "活跃"})
    assert page["attributes"]["region"] == "North"
    assert [row["order_id"] for row in page["orders"]] == ["a4", "a3"]
    assert [row["occurred_on"] for row in page["events"]] == [days_ago(1), days_ago(3)]
    assert [(row["channel"], row["allowed"]) for row in page["consents"]] == [("email", False)]
    assert page["scores"][0]["lower"] == 5.0
    assert page["plan_items"][0]["reason"] == {"en": "the end", "zh": "结尾"}
    segments = {row["segment"]: row for row in page["segments"]}
    assert segments["best_customers"]["entered_on"] == AS_OF
    assert segments["best_customers"]["title"]["en"] == "Best 20 %"
    assert stranger["orders"] == []


def test_an_unknown_customer_is_met_with_the_nearest_ids(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    with pytest.raises(NotReady), workspace.read() as reader:
        read_profile(reader, "ann")
    load_shop(workspace)
    with workspace.read() as reader:
        for wanted, near in (("anne", "ann"), ("Cid", "cid"), ("ａｎｎｅ", "ann")):
            with pytest.raises(BadInput) as caught:
                read_profile(reader, wanted)
            assert caught.value.code == "analysis.unknown_customer"
            assert caught.value.remedy is not None
            assert caught.value.remedy.render() == f"The nearest ids are: {near}."


def test_ids_that_are_far_away_are_not_called_near(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    with workspace.read() as reader:
        for wanted in ("annabelle", "zzz", "", "%", "'; DROP TABLE tags; --"):
            with pytest.raises(BadInput) as caught:
                read_profile(reader, wanted)
            assert caught.value.code == "analysis.unknown_customer"
            assert caught.value.remedy is not None
            assert caught.value.remedy.render().endswith("aimwell customer")
        assert list_customers(reader, count=2) == ["ann", "ben"]
        assert count_customers(reader) == len(list_customers(reader, count=100)) > 2


def test_a_number_in_full_width_signs_leads_to_its_customer(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    with workspace.read() as reader:
        assert read_profile(reader, "　ａｎｎ ")["customer_id"] == "ann"
        assert read_profile(reader, "　ａｎｎ ") == read_profile(reader, "ann")


@pytest.mark.parametrize(
    ("name", "properties", "counts"),
    [
        ("Product Viewed", None, True),
        ("Consultation Booked", '{"machine": false}', True),
        ("Link Clicked", "no json", True),
        ("User Identified", None, False),
        ("Group Joined", None, False),
        ("Message Sent", None, False),
        ("Consent Withdrawn", None, False),
        ("Message Opened", '{"machine": true}', False),
    ],
)
def test_only_what_a_customer_did_is_a_sign_of_interest(
    tmp_path: Path, name: str, properties: str | None, counts: bool
) -> None:
    workspace = make_workspace(tmp_path)
    told = [("zoe", "Page Viewed", days_ago(9)), ("zoe", name, days_ago(2)), ("yan", name, days_ago(2))]
    rows = [{**row, "properties": properties} for row in build_events(*told).to_pylist()]
    load(workspace, events=TABLES["events"].build([{**rows[0], "properties": None}, *rows[1:]]))
    with workspace.read() as reader:
        zoe, yan = read_profile(reader, "zoe"), read_profile(reader, "yan")
    assert f"'{name if counts else 'Page Viewed'}'" in zoe["next"]["what"]["en"]
    assert zoe["timeline"][0]["what"] == name
    if not counts and properties is None:
        assert (yan["next"]["basis"], "first order" in yan["next"]["what"]["en"]) == ("stage", True)


def test_orders_without_tags_are_never_called_no_orders(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    with workspace.read() as reader:
        step = read_profile(reader, "ann")["next"]
    assert "analysis run" in step["what"]["en"]
    assert step["why"]["en"] == "There are orders that the tags do not know yet."


def test_what_tells_who_somebody_is_is_masked_under_any_name(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    told = {
        "微信OpenID": "oXf76ePf7dhOd5dOciS6jhTLgM3g",
        "shop_openid": "oYf76ePf7dhOd5dOciS6jhTLgM3g",
        "会员手机号": "13800138000",
        "收货地址": "上海市静安区南京西路 1 号",
        "收货人": "王小明",
        "身份证号码": "310101199001011234",
        "联系邮箱": "ann@example.com",
    }
    plain = {"手机品牌": "华为", "household_size": "2"}
    people = TABLES["customers"].build([{"customer_id": "ann", "source": "t"}])
    for name, value in (told | plain).items():
        people = people.append_column(name, pa.array([value], pa.string()))
    load(workspace, customers=people)
    describe(workspace, as_of=AS_OF)
    with workspace.read() as reader:
        page = read_profile(reader, "ann")
        whole = read_profile(reader, "ann", show_personal=True)
    for value in told.values():
        assert value not in str(page)
        assert value in str(whole)
    assert plain.items() <= page["attributes"].items()
    tags = {row["name"]: row["value"] for row in page["tags"]}
    assert tags["contactable_email"] in (True, False)
