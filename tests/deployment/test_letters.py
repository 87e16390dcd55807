from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.deployment.channels.channel import Message
from aimwell.deployment.channels.event_outbox import forward_events
from aimwell.deployment.channels.letters import (
    ImportedReturns,
    arrange_address,
    import_returns,
    make_reference,
    read_reference,
    write_aside,
)
from aimwell.deployment.channels.outbox import MAIL, OutboxChannel
from aimwell.deployment.ledger import Ledger
from aimwell.deployment.policy import Candidate
from aimwell.deployment.sending import work
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.permissions import list_suppressions
from aimwell.engine.store import Store
from tests.deployment.scene import count, fill, open_ledger, open_store
from tests.deployment.stores import BOTH, find_address
from tests.postgres import postgres  # noqa: F401 (a fixture)

ADDRESS = "上海市浦东新区世纪大道100号环球金融中心3101室 200120"


def compose(candidate: Candidate) -> Message:
    return Message(
        candidate.delivery_id, "p1", candidate.customer_id, ADDRESS, "正文", name="王小明", subject="问候"
    )


def send(
    folder: Path, customers: str = "abcdef", *, store: Store | None = None
) -> tuple[Store, Ledger, list[dict[str, str]]]:
    store = store or open_store(folder)
    ledger = open_ledger(store)
    fill(ledger, list(customers), channel="mail")
    channel = OutboxChannel(folder / "outbox", MAIL)
    work(ledger, plan_id="p1", channel_name="mail", channel=channel, compose=compose)
    with channel.path.open(encoding="utf-8-sig", newline="") as stream:
        return store, ledger, list(csv.DictReader(stream))


def bring_back(store: Store, path: Path, text: str, *, encoding: str = "utf-8-sig") -> ImportedReturns:
    path.write_bytes(text.encode(encoding))
    with store.begin() as connection:
        return import_returns(connection, path, 5_000)


def test_a_letter_shop_gets_lines_and_references(tmp_path: Path) -> None:
    _, _, rows = send(tmp_path)
    assert [row["sequence"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    one = rows[0]
    assert (one["line_1"], one["line_2"], one["postcode"]) == (
        "王小明",
        "上海市浦东新区世纪大道100号环球金融中心",
        "200120",
    )
    assert one["line_3"] == "3101室" and one["line_4"] == one["line_5"] == ""
    assert read_reference(one["reference"]) == one["delivery_id"][:12]


@pytest.mark.parametrize(
    ("address", "lines", "postcode"),
    [
        ("12 Main Street, Springfield, IL 62701", ("Ann", "12 Main Street", "Springfield", "IL 62701"), ""),
        ("Rear House\n5 Mill Lane\r\nAXBRIDGE", ("Ann", "Rear House", "5 Mill Lane", "AXBRIDGE"), ""),
        ("a,b,c,d,e,f", ("Ann", "a", "b", "c", "d e f"), ""),
        ("北京市朝阳区1号", ("Ann", "北京市朝阳区1号"), ""),
        ("", ("Ann",), ""),
    ],
)
def test_addresses_become_lines(address: str, lines: tuple[str, ...], postcode: str) -> None:
    block = arrange_address("Ann", address)
    assert (block.lines, block.postcode) == (lines, postcode)


@given(st.text(max_size=20), st.text(alphabet="上海市浦东ab 12,\n", max_size=200))
def test_five_lines_lose_nothing(name: str, address: str) -> None:
    block = arrange_address(name, address)
    assert len(block.lines) <= 5

    def squeeze(text: str) -> str:
        return "".join(char for char in text if not char.isspace() and char not in ",")

    assert squeeze("".join(block.lines)) == squeeze(name) + squeeze(address), (
        "no postcode is in these addresses"
    )


@given(st.from_regex("[0-9a-f]{64}", fullmatch=True), st.integers(0, 12), st.sampled_from("0123456789ABCDEF"))
def test_a_mistyped_reference_is_noticed(delivery: str, place: int, sign: str) -> None:
    reference = make_reference(delivery)
    assert read_reference(reference) == read_reference(f" {reference.lower()} ") == delivery[:12]
    plain = reference.replace("-", "")
    wrong = plain[:place] + sign + plain[place + 1 :]
    assert (read_reference(wrong) is None) is (wrong != plain)
    swapped = plain[:place] + plain[place + 1 : place + 2] + plain[place : place + 1] + plain[place + 2 :]
    assert place >= 11 or (read_reference(swapped) is None) is (swapped != plain)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_what_came_back_ends_mail_to_that_address(tmp_path: Path, encoding: str) -> None:
    store, ledger, rows = send(tmp_path)
    who = {row["reference"]: row["customer_id"] for row in rows}
    lines = ["信件编号;退回原因"] + [
        f"{row['reference']};{reason}"
        for row, reason in zip(rows, ["无法投递", "moved", "拒收", "DECEASED"], strict=False)
    ]
    path = tmp_path / "returns.csv"
    done = bring_back(store, path, "\r\n".join([*lines, ";", ""]), encoding=encoding)
    assert (done.returned, done.known, done.problems) == (4, 0, ())
    assert bring_back(store, path, "\r\n".join(lines), encoding=encoding).known == 4
    with store.begin() as connection:
        found = {(line.customer_id, line.channel, line.source) for line in list_suppressions(connection)}
    people = list(who.values())
    assert found == {
        (people[0], "mail", "letter:undeliverable"),
        (people[1], "mail", "letter:moved"),
        (people[2], "mail", "letter:refused"),
        (people[3], "all", "letter:deceased"),
    }
    # Whoever refused it was reached.
    assert count(ledger) == {"sent": 3, "failed": 3}
    events: list[dict[str, Any]] = []
    forward_events(store, events.extend)
    assert [event["event"] for event in events] == ["Letter Returned"] * 4


def test_errors_name_row_and_column_and_nothing_is_entered(tmp_path: Path) -> None:
    store, ledger, rows = send(tmp_path)
    good = rows[0]["reference"]
    text = f"reference,reason\n{good},moved\n{good[:-1]}0,moved\n,moved\n{good},eaten by the dog\n"
    done = bring_back(store, tmp_path / "returns.csv", text)
    assert [(problem.where["row"], problem.where["column"]) for problem in done.problems] == [
        (3, "reference"), (4, "delivery_id"), (5, "reason"),
    ]  # fmt: skip
    assert "row 3" in done.problems[0].render("en") and "第 3 行" in done.problems[0].render("zh")
    assert count(ledger) == {"sent": 6} and done.returned == 0


@pytest.mark.parametrize("kind", BOTH)
def test_only_the_row_of_an_unknown_letter_is_put_aside(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = Store(find_address(kind, tmp_path, request))
    _, ledger, rows = send(tmp_path, store=store)
    names = [row["reference"] for row in rows[:3]]
    # The second customer was erased since: the ledger keeps the amount under another number.
    with store.begin() as connection:
        gone = DELIVERIES.c.delivery_id == rows[1]["delivery_id"]
        connection.execute(
            sa.update(DELIVERIES).where(gone).values(delivery_id="0" * 64, customer_id="erased")
        )
    text = "name,reference,reason\n" + "".join(f"王小明,{name},moved\n" for name in names)
    done = bring_back(store, tmp_path / "returns.csv", text)
    assert (done.returned, done.problems, [row.number for row in done.aside]) == (2, (), [3])
    assert count(ledger) == {"sent": 4, "failed": 2}
    # It can be had as a file without the name, and comes in again once its letter is known.
    aside = tmp_path / "aside.csv"
    write_aside(aside, done.aside)
    written = aside.read_text("utf-8-sig")
    assert names[1] in written and names[0] not in written and "王小明" not in written
    assert bring_back(store, aside, written.replace(names[1], names[0])).known == 1
    store.close()


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "reference,grund\nx,y\n"])
def test_a_file_without_its_columns_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput) as refused:
        bring_back(open_store(tmp_path), tmp_path / "returns.csv", text)
    assert refused.value.where["column"] == "reason"


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    path = tmp_path / "returns.csv"
    for octets in (b"\xff\xff\xff\x00", b"reference,reason\n" + b"x" * 20_000 + b",moved\n"):
        path.write_bytes(octets)
        with store.begin() as connection, pytest.raises(BadInput):
            import_returns(connection, path, 1)
    with store.begin() as connection, pytest.raises(BadInput):
        import_returns(connection, tmp_path / "none.csv", 1)
