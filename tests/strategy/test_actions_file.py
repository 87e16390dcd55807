"""Actions in a file that people edit: written and read back the same, every error in its place, any encoding."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook as ExcelBook
from typer.testing import CliRunner

from aimwell.cli.app import app
from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.engine.settings import Settings
from aimwell.engine.store_tables import AUDIT_LOG
from aimwell.engine.workspace import Workspace
from aimwell.strategy.actions import Action, build_action_rows
from aimwell.strategy.actions_file import COLUMNS, FileRow, Rules, read_action_rows, write_action_rows
from aimwell.strategy.step import read_actions
from tests.strategy.test_step import DAY, fill
from tests.strategy.world import make_all_actions

RULES = Rules(lambda text: {"written": text}, lambda body: str(body["written"]))
HEADER = [title.both()["zh"] for title in COLUMNS.values()]


def read_cells(*rows: dict[str, str], known: tuple[Action, ...] = ()) -> tuple[Action, ...]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return read_action_rows(
        "actions.csv",
        columns,
        [FileRow(number, row) for number, row in enumerate(rows, 2)],
        channels=Settings().channels,
        known=known,
        departments=frozenset({"PRODUCE"}),
        rules=RULES,
    )


def test_cells_are_read_as_people_write_them() -> None:
    (one,) = read_cells(
        {
            "优惠编号": "vip_夜",
            "优惠名称": "会员夜",
            "渠道": "短信",
            "时段": "晚上",
            "部门": "PRODUCE",
            "折扣力度": "8.5折",
            "单位成本": "￥０.０５",
            "核销成本": "1,200.50",
            "生效日期": "2026/3/1",
            "失效日期": "2026年4月5日",
            "准备天数": "3",
            "互斥组": "vip",
            "最低测试量": "50",
            "适用规则": "in segment champions",
        }
    )
    assert one.action_id == "vip_夜:sms:evening"
    assert one.title.render("zh") == "会员夜（短信，晚上）"
    assert one.discount == pytest.approx(0.15)
    assert (one.unit_cost, one.redemption_cost) == (Decimal("0.05"), Decimal("1200.50"))
    assert (one.valid_from, one.valid_to) == (date(2026, 3, 1), date(2026, 4, 5))
    assert (one.lead_days, one.exclusive_group, one.minimum) == (3, "vip", 50)
    assert one.rule == {"written": "in segment champions"}
    (plain,) = read_cells({"offer": "x", "Channel": "CALL", "discount share": "20 %".replace(" ", "")})
    assert plain == Action(
        action_id="x:call",
        offer="x",
        title=say("{offer}, by {channel}", offer="x", channel=say("call")),
        channel="call",
        department=None,
        discount=0.2,
        unit_cost=Decimal("1.50"),
        redemption_cost=Decimal("0.00"),
        minutes=4.0,
    )


@pytest.mark.parametrize(
    ("cells", "column", "value"),
    [
        ({"offer": "a b"}, "offer", "a b"),
        ({"channel": "fax"}, "channel", "fax"),
        ({"channel": "wechat"}, "channel", "wechat"),
        ({"slot": "night"}, "slot", "night"),
        ({"department": "Produce"}, "department", "Produce"),
        ({"discount": "120%"}, "discount", "120%"),
        ({"discount": "20"}, "discount", "20"),
        ({"unit_cost": "-1"}, "unit_cost", "-1"),
        ({"unit_cost": "nan"}, "unit_cost", "nan"),
        ({"unit_cost": "1e9"}, "unit_cost", "1e9"),
        ({"unit_cost": "0.045"}, "unit_cost", "0.045"),
        ({"redemption_cost": "1.234,5"}, "redemption_cost", "1.234,5"),
        ({"minutes": "four"}, "minutes", "four"),
        ({"valid_from": "2026-02-30"}, "valid_from", "2026-02-30"),
        ({"valid_from": "03/04/2026"}, "valid_from", "03/04/2026"),
        ({"valid_from": "2026-03-02", "valid_to": "2026-03-01"}, "valid_to", "2026-03-01"),
        ({"lead_days": "2.5"}, "lead_days", "2.5"),
        ({"minimum": "99999999999"}, "minimum", "99999999999"),
    ],
)
def test_a_cell_that_cannot_be_used_is_named_with_its_remedy(
    cells: dict[str, str], column: str, value: str
) -> None:
    with pytest.raises(BadInput) as caught:
        read_cells({"offer": "ok", "channel": "sms"}, {"offer": "other", "channel": "sms", **cells})
    error = caught.value
    assert error.code == "strategy.bad_action_cell"
    assert error.where == {"file": "actions.csv", "row": 3, "column": column, "value": value}
    assert error.remedy is not None
    for language in ("en", "zh"):
        assert "actions.csv" in error.render(language)
        assert value in error.render(language)


def test_files_that_hold_no_actions_or_one_twice_are_refused() -> None:
    for rows in (
        [{"offer": "x", "channel": "sms"}, {"offer": "x", "channel": "短信"}],
        [{"offer": "", "channel": ""}],
        [{"offer": "x", "chanel": "sms"}],
        [{"offer": "x"}],
        [{"offer": "x", "channel": "sms", "渠道": "sms"}],
    ):
        with pytest.raises(BadInput) as caught:
            read_cells(*rows)
        assert caught.value.code.startswith("strategy.")
        assert caught.value.render("zh") != caught.value.render("en")


@st.composite
def draw_action(draw: st.DrawFn) -> Action:
    base = draw(st.sampled_from(make_all_actions()))
    slot = draw(st.sampled_from([None, "morning", "evening"]))
    day = st.dates(date(2020, 1, 1), date(2030, 1, 1))
    begin, end = sorted([draw(day), draw(day)])
    action_id = base.action_id if slot is None else f"{base.action_id}:{slot}"
    title = base.title
    if slot is not None:
        title = say("{offer}, by {channel}, {slot}", **dict(base.title.parameters), slot=say(slot))
    return replace(
        base,
        action_id=action_id,
        title=title,
        slot=slot,
        valid_from=draw(st.sampled_from([None, begin])),
        valid_to=draw(st.sampled_from([None, end])),
        lead_days=draw(st.integers(0, 60)),
        exclusive_group=draw(st.sampled_from([None, "vip", "组"])),
        minimum=draw(st.integers(0, 5_000)),
        discount=draw(st.sampled_from([0.0, 0.05, 0.2, 0.125, 1.0])),
        unit_cost=draw(st.decimals(0, 9_999, places=2)),
        minutes=draw(st.sampled_from([0.0, 4.0, 2.5])),
        rule=draw(st.sampled_from([None, {"written": "recency_days > 30"}])),
    )


SOME = st.lists(draw_action(), min_size=1, max_size=8, unique_by=lambda action: action.action_id)


@settings(max_examples=60, deadline=None)
@given(SOME, st.sampled_from(["en", "zh"]))
def test_what_is_written_reads_back_the_same(actions: list[Action], language: Any) -> None:
    header, rows = write_action_rows(actions, rules=RULES, language=language)
    cells = [dict(zip(header, row, strict=True)) for row in rows]
    assert list(read_cells(*cells, known=tuple(actions))) == actions
    # The table keeps them, too.
    kept = build_action_rows(actions, "run").to_pylist()
    assert [Action.from_row(row) for row in kept] == actions


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace.create(tmp_path / "shop", name="shop", zone="UTC", currency="CNY")
    fill(opened, 40)
    yield opened
    opened.close()


def run(workspace: Workspace, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, ["-w", str(workspace.path), "--json", *arguments])
    if isinstance(done.exception, BadInput):
        return done.exit_code, dict(done.exception.where)
    return done.exit_code, json.loads(done.stdout)


LINES = (
    ("优惠编号", "优惠名称", "渠道", "准备天数", "互斥组"),
    ("会员_夜", "会员夜，八折", "短信", "2", "会员"),
    ("会员_信", "会员来信", "直邮", "", "会员"),
)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "big5hkscs", "xlsx"])
def test_files_of_excel_are_taken_in_and_the_audit_log_knows(
    workspace: Workspace, tmp_path: Path, codec: str
) -> None:
    file = tmp_path / ("actions.xlsx" if codec == "xlsx" else "actions.csv")
    if codec == "xlsx":
        book = ExcelBook()
        for line in LINES:
            book.active.append(line)  # type: ignore[union-attr]
        book.save(file)
    else:
        lines = LINES
        if codec == "big5hkscs":
            # Big5 has no simplified characters: English columns, values that both scripts write alike.
            lines = (("offer", "title", "channel", "lead_days", "exclusive_group"), ("a", "中文的一封信是我的有在人大", "sms", "2", "人"), ("b", "不可以有的", "mail", "", "人"))  # noqa: E501 # fmt: skip
        file.write_text("\n".join(",".join(line) for line in lines) + "\n", encoding=codec)
    code, done = run(workspace, "strategy", "actions", "add", str(file), "--as-of", DAY.isoformat())
    assert code == 0, done
    assert (done["new"], done["changed"], done["count"]) == (2, 0, 2)
    with workspace.read() as reader:
        kept = read_actions(reader)
    assert {action.channel for action in kept} == {"sms", "mail"}
    assert {action.lead_days for action in kept} == {0, 2}
    assert len({action.exclusive_group for action in kept}) == 1
    with workspace.store.begin() as connection:
        logged = connection.execute(sa.select(AUDIT_LOG.c.action)).scalars().all()
    assert "actions.saved" in logged


def test_proposals_are_exported_edited_and_added(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    code, shown = run(workspace, "--language", "zh", "strategy", "actions", "--export", str(file), "--as-of", DAY.isoformat())  # noqa: E501 # fmt: skip
    assert code == 0
    assert shown["proposed"]
    text = file.read_text(encoding="utf-8-sig")
    assert text.splitlines()[0] == ",".join(HEADER)
    code, done = run(workspace, "strategy", "actions", "add", str(file), "--as-of", DAY.isoformat())
    assert code == 0, done
    assert done["count"] == len(shown["actions"])
    with workspace.read() as reader:
        before = read_actions(reader)
    assert {a.action_id for a in before} == {row["action_id"] for row in shown["actions"]}
    # Titles that the program made are still read in both languages.
    assert all(action.title.render("en") != action.title.render("zh") for action in before)
    edited = [line.split(",") for line in text.splitlines()]
    edited[1][HEADER.index("适用规则")] = "recency_days > 3"
    file.write_text("\n".join(",".join(line) for line in edited), encoding="utf-8")
    code, refused = run(workspace, "strategy", "actions", "add", str(file), "--as-of", DAY.isoformat())
    # Without tags there is no such tag: the error of the rule stands at its cell.
    assert code != 0
    assert (refused["file"], refused["row"], refused["column"]) == ("out.csv", 2, "适用规则")
    edited[1][HEADER.index("适用规则")] = "customers.phone = '1'"
    edited[1][HEADER.index("优惠名称")] = "'-20% 仅此一次"
    file.write_text("\n".join(",".join(line) for line in edited), encoding="utf-8")
    code, done = run(workspace, "strategy", "actions", "add", str(file), "--as-of", DAY.isoformat())
    assert (code, done["new"], done["changed"]) == (0, 0, 1)
    # What would be a formula is written with a quote before it, and read without.
    code, shown = run(workspace, "strategy", "actions", "--export", str(file), "--as-of", DAY.isoformat())
    assert any("'-20% 仅此一次" in line for line in file.read_text(encoding="utf-8-sig").splitlines())
    assert any(row["title"]["en"].startswith("-20% 仅此一次") for row in shown["actions"])
