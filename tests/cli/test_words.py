"""What stands as a code in tables is a word on screens; days are the business's; identifiers are masked."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.cli.app import main
from aimwell.core.text import set_language
from aimwell.engine.store_tables import AUDIT_LOG
from aimwell.engine.workspace import Workspace

CUSTOMERS = "会员号,姓名,手机号,所在地区\n" + "".join(
    f"C{n},王小{n},139{n:02d}345670,{'华东' if n % 2 else '华北'}\n" for n in range(12)
)
SHOP = "客户编号,昵称,手机号\nW1,小王,13901345670\nW2,路人,13700000007\n"
ORDERS = "订单号,会员号,下单时间,商品编号,数量,实付金额\n" + "".join(
    f"D{n},C{n % 10},2026-01-{n + 1:02d} 07:30,P{n % 3},1,{100 + n}\n" for n in range(24)
)
CONSENTS = "会员号,渠道,用途,是否同意,时间\nC1,短信,营销,是,2026-01-01 00:30\n"
EVENTS = [
    {"type": "track", "event": "Product Viewed", "messageId": f"m{n}", "timestamp": f"2026-01-1{n}T02:00:00Z"}
    | ({"userId": f"C{n}"} if n else {"anonymousId": "visitor"})
    for n in range(4)
]
Run = Callable[..., str]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["aimwell", "--language", "zh", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    set_language("en")
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    with pytest.MonkeyPatch.context() as patch:
        shop = str(folder / "shop")
        assert call(patch, "init", shop) == 0
        tables = {"customers": CUSTOMERS, "order_lines": ORDERS, "consents": CONSENTS}
        for table, text in tables.items():
            (folder / f"{table}.csv").write_text(text, "utf-8")
            assert (
                call(patch, "-w", shop, "data", "add", str(folder / f"{table}.csv"), "--as", table, "--yes")
                == 0
            )
        (folder / "web.csv").write_text(SHOP, "utf-8")
        assert (
            call(patch, "-w", shop, "data", "add", str(folder / "web.csv"), "--as", "customers", "--yes") == 0
        )
        (folder / "events.jsonl").write_text("\n".join(map(json.dumps, EVENTS)), "utf-8")
        assert call(patch, "-w", shop, "data", "events", "add", str(folder / "events.jsonl")) == 0
        assert call(patch, "-w", shop, "data", "identity", "find") == 0
        assert call(patch, "-w", shop, "analysis", "run", "--as-of", "2026-01-25") == 0
    return folder / "shop"


@pytest.fixture
def aimwell(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.setenv("COLUMNS", "160")
    shutil.copytree(made, tmp_path / "shop")

    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert call(monkeypatch, "-w", str(tmp_path / "shop"), *arguments) == code
        printed = capsys.readouterr()
        return printed.out + printed.err

    return run


def test_consents_are_words_and_the_business_s_time(aimwell: Run) -> None:
    page = aimwell("data", "consent", "show", "C1")
    assert "短信" in page
    assert "营销" in page
    assert "2026-01-01 00:30" in page
    assert "sms" not in page
    assert "marketing" not in page
    assert "+08:00" not in page
    aimwell("data", "consent", "suppress", "C2")
    page = aimwell("data", "consent", "suppressions")
    assert "所有渠道" in page
    assert "命令行" in page


def test_a_preview_names_segments_and_channels(aimwell: Run) -> None:
    page = aimwell("analysis", "segment", "preview", "--rule", "orders_365d >= 1")
    assert "新客户" in page
    assert "短信" in page
    assert "new_customers" not in page
    assert "地区：" in page


def test_the_schedule_names_segments(aimwell: Run) -> None:
    aimwell(
        "analysis",
        "segment",
        "save",
        "lookers",
        "--rule",
        "did 'Product Viewed' 1 times in 30 days",
        "--title",
        "浏览者",
    )
    aimwell("analysis", "run", "--as-of", "2026-01-25")
    page = aimwell("analysis", "segment", "schedule")
    assert "浏览者" in page
    assert "lookers" not in page


def test_a_customer_s_page_has_no_codes(aimwell: Run) -> None:
    page = aimwell("customer", "C1")
    assert "139****5670" in page
    assert "王小1" not in page
    assert "电话号码" in page
    assert "2026-01-12 07:30" in page
    assert "UTC" not in page


def test_identifiers_are_masked_unless_somebody_wants_them(aimwell: Run, tmp_path: Path) -> None:
    hidden = aimwell("data", "identity", "explain", "C1", "W1")
    assert "139****5670" in hidden
    assert "13901345670" not in hidden
    assert "13901345670" in aimwell("data", "identity", "explain", "C1", "W1", "--reveal")
    workspace = Workspace.open(tmp_path / "shop")
    with workspace.store.begin() as connection:
        rows = connection.execute(sa.select(AUDIT_LOG.c.action, AUDIT_LOG.c.subject)).all()
    workspace.close()
    assert [row.subject for row in rows if row.action == "identity.revealed"] == ["explain"]


def test_customers_are_counted_in_one_way(aimwell: Run) -> None:
    identity = json.loads(aimwell("data", "identity", "find", "--json"))["summary"]["customers"]
    analysis = json.loads(aimwell("analysis", "run", "--as-of", "2026-01-25", "--json"))["summary"][
        "customers"
    ]
    flows = json.loads(aimwell("analysis", "flows", "--until", "2026-01-25", "--json"))
    assert identity == analysis == sum(flows["to"].values()) == 12 + 2 - 1 + 1


def test_near_names_are_offered(aimwell: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "out.csv")
    assert "active_customers" in aimwell(
        "analysis", "segment", "export", "active_customer", "--channel", "sms", "--out", out, code=2
    )
    assert "内置标签" in aimwell("analysis", "tag", "remove", "recency_days", code=2)
    assert "signals" in aimwell("data", "tables")
    assert "order_lines" not in aimwell("data", "identity", "find", "--between", "web", code=2)


def test_a_store_of_a_newer_version_is_left_alone(aimwell: Run, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "shop")
    with workspace.store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    workspace.close()
    assert "更新版本" in aimwell("data", "tables", code=2)


def test_a_customer_before_the_analysis_says_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS, "utf-8")
    shop = str(tmp_path / "new")
    assert call(monkeypatch, "init", shop) == 0
    assert (
        call(monkeypatch, "-w", shop, "data", "add", str(tmp_path / "c.csv"), "--as", "customers", "--yes")
        == 0
    )
    capsys.readouterr()
    assert call(monkeypatch, "-w", shop, "customer", "C1") == 0
    assert f"aimwell -w {shop} analysis run\n" in capsys.readouterr().out


def test_an_answer_that_has_ended_is_no_refusal(aimwell: Run, tmp_path: Path) -> None:
    text = "会员号,渠道,是否同意,时间,有效期\nC3,电话,是,2025-01-01,2025-06-30\n"
    (tmp_path / "ended.csv").write_text(text, "utf-8")
    aimwell("data", "add", str(tmp_path / "ended.csv"), "--as", "consents", "--yes")
    page = aimwell("customer", "C3")
    assert "已到期" in page
    assert "2025-07-01" in page


def test_what_was_never_delivered_is_named_in_words(aimwell: Run) -> None:
    page = aimwell("analysis", "run", "--as-of", "2026-01-25")
    assert "没有电话、电子邮件、邮寄的授权记录" in page.replace("\n", "")
    assert "complaint" not in page


def test_a_trend_of_nothing_says_so(aimwell: Run) -> None:
    assert "没有“Product View”" in aimwell("analysis", "trend", "Product View", "--until", "2026-01-25")
    page = aimwell("analysis", "trend", "orders", "--figure", "sum:revenue", "--until", "2026-01-25")
    assert "revenue 合计" in page
    assert "analysis events" not in page


def test_a_workspace_of_events_alone_knows_its_customers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.csv").write_text("用户,行为,时间\nU1,pv,2026-01-01\nU1,buy,2026-01-02\n", "utf-8")
    shop = ["-w", str(tmp_path / "log")]
    assert call(monkeypatch, "init", shop[1]) == 0
    assert call(monkeypatch, *shop, "data", "add", str(tmp_path / "log.csv"), "--as", "events", "--yes") == 0
    assert "可以分析客户的行为" in capsys.readouterr().out.replace("\n", "")
    for _ in range(2):
        assert call(monkeypatch, *shop, "customer", "u1") == 2
        assert "U1" in capsys.readouterr().err
        assert call(monkeypatch, *shop, "customer") == 0
        assert capsys.readouterr().out.splitlines()[0] == "U1"
        assert call(monkeypatch, *shop, "analysis", "run", "--as-of", "2026-01-03") == 0
        capsys.readouterr()
