"""A Chinese shop's three sources become one portrait of each customer, and are taken apart again without a loss."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.core.errors import AimwellError, BadInput
from aimwell.data.identity.explain import explain
from aimwell.data.identity.step import (
    find_identities,
    join_records,
    list_identities,
    rebuild,
    review,
    split_records,
)
from aimwell.data.step import add_source
from aimwell.engine.store_tables import AUDIT_LOG
from aimwell.engine.workspace import Workspace
from tests.data.shop import make_workspace, query, write

CRM = """客户编号,姓名,手机号,邮箱,身份证号,会员号
CRM1,张伟,139 1234 5670,zhang.wei@163.com,11010519491231002X,00017
CRM2,歐陽娜娜,+86-13698765430,,,00018
CRM3,王芳,13800138000,,,
CRM4,李强,0086 15011112222,test@163.com,440524188001010014,
CRM5,赵敏,13800138000,,,
"""
MINI = """客户编号,昵称,openid,手机号
WX1,伟哥,oAbC123,１３９１２３４５６７０
WX2,娜娜,oDeF456,8613698765430
WX3,路人,oGhI789,
"""
TILL = """客户编号,会员号,电话,身份证号
T1,00017,,
T2,00018,021-61234567,
T3,,150-1111-2222,11010519491231002X
"""
KEY = {"customer_id": "客户编号"}
ORDERS = """订单号,客户编号,下单时间,商品编号,数量,金额
O1,CRM1,2026-01-02,P1,1,100.10
O2,WX1,2026-01-03,P1,2,200.20
O3,T1,2026-01-04,P2,1,50.05
O4,CRM2,2026-01-05,P2,1,30.00
O5,WX3,2026-01-06,P1,1,7.77
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    workspace = make_workspace(folder)
    for name, text in (("crm", CRM), ("mini", MINI), ("till", TILL)):
        file = write(folder, text, name=f"{name}.csv")
        result = add_source(workspace, file, table="customers", accept=True, mapping=KEY)
        assert result.summary["rejected"] == 0
    add_source(workspace, write(folder, ORDERS), table="order_lines", accept=True)
    workspace.close()
    return workspace.path


@pytest.fixture
def shop(loaded: Path, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(loaded, tmp_path / "shop")
    workspace = Workspace.open(tmp_path / "shop")
    yield workspace
    workspace.close()


def count_facts(shop: Workspace) -> list[dict[str, object]]:
    return query(shop, "SELECT count(*) AS lines, sum(revenue) AS revenue FROM order_lines")


def delivered(shop: Workspace) -> list[dict[str, object]]:
    return query(
        shop, "SELECT customer_id, email, phone, source FROM delivered_customers ORDER BY customer_id"
    )


def spend(shop: Workspace) -> dict[str, float]:
    rows = query(shop, "SELECT customer_id, sum(revenue) AS total FROM order_lines GROUP BY customer_id")
    return {str(row["customer_id"]): float(str(row["total"])) for row in rows}


def test_three_sources_become_one_portrait_and_come_apart_again(shop: Workspace) -> None:
    facts, records, before = count_facts(shop), delivered(shop), spend(shop)
    result = find_identities(shop)
    assert result.summary["contradictions"] == 1
    assert [[one["record"] for one in row["records"]] for row in list_identities(shop)["customers"]] == [
        ["CRM1", "T1", "T3", "WX1"],
        ["CRM2", "T2", "WX2"],
    ]
    assert spend(shop) == {"CRM1": 350.35, "CRM2": 30.0, "WX3": 7.77}
    assert count_facts(shop) == facts
    assert delivered(shop) == records
    assert len(query(shop, "SELECT customer_id FROM customers")) == 6

    split_records(shop, "CRM1", "WX1")
    assert spend(shop)["WX1"] == 200.2
    assert find_identities(shop).summary["new_links"]["deterministic"] == 0
    assert spend(shop)["CRM1"] == 150.15

    for one, other in (("CRM1", "T1"), ("CRM1", "T3"), ("CRM2", "T2"), ("CRM2", "WX2")):
        split_records(shop, one, other)
    assert spend(shop) == before
    assert count_facts(shop) == facts
    assert delivered(shop) == records


def test_finding_twice_changes_nothing_and_a_trial_writes_nothing(shop: Workspace) -> None:
    assert find_identities(shop, dry_run=True).summary["joined_records"] == 7
    assert query(shop, "SELECT * FROM identities") == []
    find_identities(shop)
    log = query(shop, "SELECT link_id FROM identity_links ORDER BY link_id")
    identities = "SELECT record_id, customer_id FROM identities ORDER BY record_id"
    joined = query(shop, identities)
    find_identities(shop)
    assert query(shop, "SELECT link_id FROM identity_links ORDER BY link_id") == log
    rebuild(shop)
    assert query(shop, identities) == joined


def test_what_joins_is_explained_in_both_languages(shop: Workspace) -> None:
    find_identities(shop)
    hidden = json.dumps(explain(shop, "WX1", "T1"), default=str)
    assert "+86139****5670" in hidden
    assert "13912345670" not in hidden
    assert "00017" not in hidden
    assert read_audit(shop) == []
    told = explain(shop, "WX1", "T1", reveal=True)
    assert read_audit(shop) == [("identity.revealed", "explain")]
    assert told["together"]
    reasons = [reason for link in told["links"] for reason in link["reasons"]]
    assert {
        "en": "both have the phone number +8613912345670",
        "zh": "两者的电话号码都是 +8613912345670",
    } in reasons
    assert {"en": "both have the member number 00017", "zh": "两者的会员号都是 00017"} in reasons
    split_records(shop, "WX1", "T1")
    assert "stay apart" in explain(shop, "WX1", "T1")["verdict"]["en"]
    assert not explain(shop, "WX3", "T1")["together"]


def read_audit(shop: Workspace) -> list[tuple[str, str]]:
    with shop.store.begin() as connection:
        rows = connection.execute(sa.select(AUDIT_LOG.c.action, AUDIT_LOG.c.subject)).all()
    return [(row.action, row.subject) for row in rows if row.action == "identity.revealed"]


def test_stand_ins_and_contradictions_are_for_review(shop: Workspace) -> None:
    find_identities(shop)
    found = review(shop)
    assert [(row["left"], row["right"], row["differs"]) for row in found["contradictions"]] == [
        ("CRM4", "T3", "id_number")
    ]
    assert {"kind": "phone", "value": "+8613800138000", "records": 2, "blocked": True} in found["refused"]
    split_records(shop, "CRM4", "T3")
    assert review(shop)["contradictions"] == []


def test_the_business_sets_its_own_limits(shop: Workspace) -> None:
    (shop.path / "identity.toml").write_text(
        'blocked = ["13912345670"]\n[limits]\nmember = 2\n', encoding="utf-8"
    )
    found = find_identities(shop)
    assert found.summary["refused"] == 2
    assert not explain(shop, "CRM1", "WX1")["together"]
    (shop.path / "identity.toml").write_text("limit = 3\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"identity\.toml"):
        find_identities(shop)


def test_a_person_joins_what_no_search_finds(shop: Workspace) -> None:
    assert join_records(shop, "WX3", "CRM3")["customers"] == ["CRM3"]
    assert spend(shop)["CRM3"] == 7.77
    for one, other in (("CRM3", "CRM3"), ("CRM3", "nobody")):
        with pytest.raises(AimwellError):
            join_records(shop, one, other)


NAMES = "伟芳娜敏静强磊洋艳勇军杰娟涛明超霞平刚桂"
FAMILIES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"


def people() -> str:
    """200 people, of whom the first 40 stand there twice: traditional characters or a slip in the date."""
    lines = ["客户编号,姓名,出生日期,城市,邮编"]
    for number in range(200):
        name = FAMILIES[number % 20] + NAMES[(number * 7) % 20] + NAMES[(number // 20 + number) % 20]
        born = f"{1950 + number % 50}-{1 + number % 12:02}-{1 + number % 28:02}"
        city, code = ("上海", "北京", "广州", "成都")[number % 4], 200000 + 37 * number
        lines.append(f"A{number},{name},{born},{city},{code}")
        if number < 40:
            twin = name.replace("张", "張").replace("刘", "劉").replace("陈", "陳").replace("杰", "傑")
            lines.append(f"B{number},{twin},{born[:-1]}{(number + (number % 5 == 0)) % 10},{city},{code}"
                         if number % 5 == 0 else f"B{number},{twin},{born},{city},{code}")  # fmt: skip
    return "\n".join(lines) + "\n"


def test_likeness_joins_chinese_records_without_any_identifier(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    add_source(shop, write(tmp_path, people(), name="people.csv"), table="customers", accept=True)
    result = find_identities(shop, probabilistic=True)
    joined = {
        frozenset(one["record"] for one in row["records"])
        for row in list_identities(shop, limit=99)["customers"]
    }
    truth = {frozenset({f"A{number}", f"B{number}"}) for number in range(40)}
    assert len(joined & truth) >= 38
    assert len(joined - truth) <= 1
    told: dict[str, Any] = explain(shop, "A2", "B2")
    assert "出生日期相同" in json.dumps(told, ensure_ascii=False)
    again = make_workspace(tmp_path / "again")
    add_source(again, tmp_path / "people.csv", table="customers", accept=True)
    second = find_identities(again, probabilistic=True)
    assert second.summary["probabilistic"] == result.summary["probabilistic"]
