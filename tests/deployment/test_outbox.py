from __future__ import annotations

import csv
import threading
from pathlib import Path

import pytest

from aimwell.deployment.channels.channel import Message, Outcome
from aimwell.deployment.channels.outbox import CALL, MAIL, SMS, OutboxChannel
from aimwell.deployment.channels.sms import measure_sms

EVIL = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    " =1",
    "＝1+1",
    "\u3000=1",
    "\n=1",
    '=HYPERLINK("x")',
]


def build(number: int, **values: object) -> Message:
    settings: dict[str, object] = {
        "delivery_id": f"{number:064d}",
        "plan_id": "p",
        "customer_id": f"c{number}",
        "recipient": "+8613800138000",
        "name": "王小明",
        "text": "【店】生鲜8折。拒收请回复R",
        **values,
    }
    return Message(**settings)  # type: ignore[arg-type]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def test_sms_rows_say_what_they_will_cost(tmp_path: Path) -> None:
    channel = OutboxChannel(tmp_path, SMS)
    assert channel.deliver(build(1, text="客" * 84)).outcome is Outcome.SENT
    channel.finish()
    row = read(tmp_path / "sms.csv")[0]
    assert (row["phone"], row["encoding"], row["characters"], row["segments"]) == (
        "+8613800138000",
        "UCS-2",
        "84",
        "2",
    )


def test_excel_sees_utf8_and_only_the_owner_reads(tmp_path: Path) -> None:
    channel = OutboxChannel(tmp_path, CALL)
    channel.deliver(
        build(1, details={"reason": "高价值客户", "offer": "生鲜8折", "best_hour": "18:00–19:00"})
    )
    channel.finish()
    path = tmp_path / "call.csv"
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert path.stat().st_mode & 0o077 == 0
    row = read(path)[0]
    assert (row["name"], row["reason"], row["best_hour"]) == ("王小明", "高价值客户", "18:00–19:00")


def test_delivering_again_adds_nothing(tmp_path: Path) -> None:
    for batch in ([1, 2, 3], [2, 3, 4], [1]):
        channel = OutboxChannel(tmp_path, SMS)
        channel.deliver_batch([build(number) for number in batch])
        channel.finish()
    assert [row["delivery_id"][-1] for row in read(tmp_path / "sms.csv")] == ["1", "2", "3", "4"]
    assert channel.count_rows() == 4


def test_two_writers_finish_with_everything_in_the_file(tmp_path: Path) -> None:
    def write(first: int) -> None:
        channel = OutboxChannel(tmp_path, SMS)
        for number in range(first, first + 20):
            channel.deliver(build(number))
            channel.finish()

    writers = [threading.Thread(target=write, args=(start,)) for start in (0, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(read(tmp_path / "sms.csv")) == 40
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".sms")] == []


@pytest.mark.parametrize("evil", EVIL)
def test_no_cell_is_a_formula(tmp_path: Path, evil: str) -> None:
    for layout in (CALL, MAIL, SMS):
        channel = OutboxChannel(tmp_path, layout)
        channel.deliver(
            build(
                1,
                name=evil,
                text=evil,
                subject=evil,
                customer_id=evil,
                details={"reason": evil, "offer": evil},
            )
        )
        channel.finish()
        for cell in read(tmp_path / layout.file_name)[0].values():
            assert not cell.lstrip(" \u3000").startswith(("=", "@", "-", "＝", "\t", "\n")), (
                layout.file_name,
                cell,
            )


@pytest.mark.parametrize(
    ("text", "encoding", "units", "segments"),
    [
        ("", "GSM-7", 0, 0),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("a" * 152 + "€" * 5, "GSM-7", 162, 2),
        ("客" * 70, "UCS-2", 70, 1),
        ("客" * 71, "UCS-2", 71, 2),
        ("客" * 134, "UCS-2", 134, 2),
        ("客" * 135, "UCS-2", 135, 3),
        ("😀" * 35, "UCS-2", 70, 1),
        ("客" * 66 + "😀" + "客" * 66, "UCS-2", 134, 3),
        ("`", "UCS-2", 1, 1),
    ],
)
def test_sms_lengths(text: str, encoding: str, units: int, segments: int) -> None:
    length = measure_sms(text)
    assert (length.encoding, length.units, length.segments) == (encoding, units, segments)
