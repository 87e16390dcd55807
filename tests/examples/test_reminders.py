"""The three reminders of the examples, from their CSV files to mails in a real server and rows in the outbox."""

from __future__ import annotations

import csv
import email
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import default
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aimwell.core.tables import TABLES
from aimwell.data.event_intake import take_events
from aimwell.data.step import add_source
from aimwell.deployment.channels.channel import Channel
from aimwell.deployment.channels.outbox import LAYOUTS
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.content.folder import read_folder
from aimwell.deployment.content.library import save_content
from aimwell.deployment.content.lint import lint_definition
from aimwell.deployment.dispatch import dispatch
from aimwell.deployment.journeys.advance import advance
from aimwell.deployment.journeys.composing import JourneyComposers
from aimwell.deployment.journeys.graph_check import check_journey
from aimwell.deployment.journeys.graph_json import journey_from_json
from aimwell.deployment.journeys.versions import save_journey, start_journey
from aimwell.deployment.sink import Sink
from aimwell.deployment.ways import SourceFiles
from aimwell.engine.workspace import Workspace

ROOT = Path(__file__).parents[2] / "examples"
ZONES = {"en": ("Europe/London", "GBP"), "zh": ("Asia/Shanghai", "CNY")}
FIRST = datetime(2026, 3, 2, tzinfo=UTC)


def load_script(name: str) -> ModuleType:
    """A script of the examples."""
    specification = spec_from_file_location(name, ROOT / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Shop:
    """An example's workspace with its mail server and a clock that the test moves."""

    def __init__(self, folder: Path, name: str, language: str, sink: Sink) -> None:
        zone, currency = ZONES[language]
        self.name, self.language, self.sink = name, language, sink
        self.data = ROOT / name / language
        self.workspace = Workspace.create(folder / "shop", name="Shop", zone=zone, currency=currency)
        for table in ("customers", "consents", "products", "order_lines"):
            file = self.data / ("orders.csv" if table == "order_lines" else f"{table}.csv")
            if file.exists():
                result = add_source(self.workspace, file, table=table, accept=True)
                assert result.summary["rejected"] == 0, result.summary
        content = read_folder(ROOT / name / "content" / name)
        assert [one for one in lint_definition(content) if one.severity == "error"] == []
        save_content(self.workspace.store, content)
        self.journey = journey_from_json(json.loads((self.data / "journey.json").read_text("utf-8")))
        check_journey(self.journey)
        self.at = FIRST

    def start(self) -> None:
        """From the first day on."""
        save_journey(self.workspace.store, self.journey)
        start_journey(self.workspace.store, self.name, now_ms=self.now_ms)

    @property
    def now_ms(self) -> int:
        """The moved clock."""
        return int(self.at.timestamp() * 1000)

    def post(self, customer: str, event: str, **properties: Any) -> None:
        """The customer did something just now."""
        message = {
            "type": "track",
            "userId": customer,
            "event": event,
            "messageId": f"{customer}:{event}:{self.at}",
            "timestamp": self.at.isoformat(),
            "properties": properties,
        }
        receipts = take_events(self.workspace, [message], received_at=self.at)
        assert [one.status for one in receipts] == ["accepted"]

    def run_until(self, at: datetime) -> None:
        """Twice a day, as a worker would: journeys, then what is to be sent."""
        server = Server("127.0.0.1", self.sink.port, "Shop <shop@example.com>")
        channels: Mapping[str, Channel] = {
            "email": SmtpChannel(server),
            **{name: SourceFiles(self.workspace, layout) for name, layout in LAYOUTS.items()},
        }
        composers = {"journey:": JourneyComposers(self.workspace)}
        instants = [FIRST + timedelta(days=day, hours=hour) for day in range(40) for hour in (3, 11)]
        for self.at in [instant for instant in instants if self.at < instant <= at]:
            if advance(self.workspace, self.now_ms):
                dispatch(self.workspace, channels, composers, clock=lambda: self.at.timestamp())

    def read_mails(self) -> dict[str, list[EmailMessage]]:
        """Recipient → mails, as they arrived."""
        assert self.sink.folder is not None
        found: dict[str, list[EmailMessage]] = {}
        for path in sorted(self.sink.folder.glob("*.eml")):
            mail = email.message_from_bytes(path.read_bytes(), policy=default)
            assert isinstance(mail, EmailMessage)
            found.setdefault(str(mail["To"]).partition("@")[0].split("<")[-1], []).append(mail)
        return found

    def read_file(self, channel: str) -> list[dict[str, str]]:
        """The rows that a provider would be handed."""
        path = self.workspace.path / "outbox" / f"journey%3A{self.name}" / f"{channel}.csv"
        if not path.exists():
            return []
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream))


@pytest.fixture(params=["en", "zh"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Opens an example by name."""
    opened: list[Shop] = []
    with Sink(tmp_path / "mails") as sink:

        def open_shop(name: str) -> Shop:
            opened.append(Shop(tmp_path, name, request.param, sink))
            return opened[-1]

        yield open_shop
        for one in opened:
            one.workspace.close()


def test_the_data_are_as_the_script_writes_them(tmp_path: Path) -> None:
    load_script("generate").main(tmp_path)
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.csv")}
    assert written == {path.relative_to(ROOT) for path in ROOT.rglob("*.csv")} and len(written) == 20
    for path in written:
        assert (tmp_path / path).read_bytes() == (ROOT / path).read_bytes(), path
    assert "customers" in TABLES


def test_policy_renewal(shop: Any) -> None:
    story: Shop = shop("policy_renewal")
    lang = story.language
    story.start()
    story.run_until(FIRST + timedelta(days=3))
    mails = story.read_mails()
    # Three end in 30 days, one in 31; the last of those has refused, and one has another 45 days.
    assert set(mails) == {f"{lang}{number}" for number in (1, 2, 3, 6)}
    subject = "1 April 2026" if lang == "en" else "2026年4月1日"
    assert subject in mails[f"{lang}1"][0]["Subject"]
    story.post(f"{lang}1", "Policy Renewed")
    story.run_until(FIRST + timedelta(days=20))
    calls = story.read_file("call")
    assert {row["customer_id"] for row in calls} == {f"{lang}{number}" for number in (2, 3, 6)}
    assert len(story.read_mails()[f"{lang}1"]) == 1
    story.post(f"{lang}2", "Policy Renewed")
    story.run_until(FIRST + timedelta(days=34))
    # The one with 45 days has had both by now; whoever renewed is called no more.
    assert sorted(row["customer_id"] for row in story.read_file("call")) == [
        f"{lang}{n}" for n in (2, 3, 4, 6)
    ]
    assert len(story.read_mails()[f"{lang}4"]) == 1


def test_car_service_by_date_and_by_mileage(shop: Any) -> None:
    story: Shop = shop("car_service")
    lang = story.language
    story.start()
    story.at = FIRST + timedelta(hours=4)
    add_source(story.workspace, story.data / "odometer.csv", table="events", accept=True)
    story.run_until(FIRST + timedelta(days=2))
    mails = story.read_mails()
    # 1, 2 and 5 by date, 3 and 6 by mileage; 8 has refused, 4 has far to go.
    assert set(mails) == {f"{lang}{number}" for number in (1, 2, 3, 5, 6)}
    assert all(len(own) == 1 for own in mails.values())
    story.post(f"{lang}1", "Service Booked")
    story.post(f"{lang}2", "Service Done")
    story.run_until(FIRST + timedelta(days=8))
    texts = story.read_file("sms")
    assert {row["phone"][-1] for row in texts} == {"3", "5", "6"}


def test_fresh_food_near_its_date(shop: Any) -> None:
    story: Shop = shop("food_expiry")
    lang = story.language
    story.start()
    story.at = FIRST + timedelta(hours=2)
    tell_lots = load_script("food_expiry").tell_lots
    told = tell_lots(story.workspace, story.data / "lots.csv", at=story.at)
    assert told == 6 and tell_lots(story.workspace, story.data / "lots.csv", at=story.at) == 0
    story.run_until(FIRST + timedelta(days=2))
    assert story.read_mails() == {}
    story.run_until(FIRST + timedelta(days=3, hours=12))
    first = story.read_mails()
    # Milk is best before the 7th: those who bought it twice hear of it two days before.
    assert set(first) == {f"{lang}4", f"{lang}7"}
    shown = ("Fresh milk", "7 March 2026") if lang == "en" else ("鲜牛奶", "2026年3月7日")
    text = first[f"{lang}4"][0].get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert all(words in text for words in shown)
    story.run_until(FIRST + timedelta(days=9))
    assert len(story.read_mails()) == 5
