"""A whole worker is killed again and again while records turn out to be one person's and what is queued for them
follows, on both databases: each person has each message once, under the person's caps and refusals."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email import message_from_bytes
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import pytest

from aimwell.core.errors import Conflict
from aimwell.core.tables import TABLES
from aimwell.data.event_intake import take_events
from aimwell.deployment.channels.mime import identify_mail
from aimwell.deployment.journeys import readdressing
from aimwell.deployment.journeys.graph_json import journey_from_json
from aimwell.deployment.journeys.versions import save_journey, start_journey
from aimwell.deployment.reconciliation import check_sums
from aimwell.deployment.sink import Sink
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.permissions import go_on, halt, suppress_customers
from aimwell.engine.workspace import Workspace
from tests.deployment.stores import BOTH
from tests.faults.test_service_kill import make
from tests.faults.test_worker_kill import read_rows
from tests.faults.victims import count_kills, kill, sleep_at_random, start, wait_until, work_on
from tests.postgres import postgres  # noqa: F401 (a fixture)

ROUNDS = 4
"""In each more records are joined, and the worker is killed three times."""
PAUSES = (0.06, 0.5, 0.9)
"""Seconds at most until each kill: the first comes when messages follow, the others anywhere."""
EACH = 2
"""So many people of each kind in a round."""
JOURNEYS = ("first", "second", "third")
CAP = 2


class Kind:
    """What the records ``v`` and ``w`` of a person sign up for, and what becomes of that once they are one."""

    def __init__(self, v: str, w: str, sent: int, left: Mapping[str, int]) -> None:
        self.signs = {"v": v.split(), "w": w.split()}
        self.sent = sent
        self.left = dict(left)


KINDS = {
    "twice": Kind("first", "first", 1, {"merged": 1}),
    "capped": Kind("first second", "third", CAP, {"contact_cap": 1}),
    # The first of them goes out before anybody knows: the round before posts it.
    "before": Kind("first", "second third", CAP, {"contact_cap": 1}),
    "refused": Kind("first", "", 0, {"suppressed": 1}),
    "unwilling": Kind("first", "", 0, {"consent_withdrawn": 1}),
}


def name_people(number: int, kind: str) -> list[str]:
    """Those of one round."""
    return [f"{kind}-{number}-{one}" for one in range(EACH)]


@pytest.fixture(params=BOTH)
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    """Journeys of one mail each; people and their records, who may be written to unless they are unwilling."""
    monkeypatch.setenv("AIMWELL_CONTACT__CAP", str(CAP))
    made = make(request, tmp_path / "w", monkeypatch)
    rounds = range(count_kills(ROUNDS))
    people = [name for number in rounds for kind in KINDS for name in name_people(number, kind)]
    names = [name + record for name in people for record in ("", "v", "w")]
    rows = [{"customer_id": name, "email": f"{name}@customers.example", "source": "s"} for name in names]
    consents = [
        {"customer_id": name, "channel": "email", "purpose": "marketing", "since": datetime(2025, 1, 1, tzinfo=UTC),
         "allowed": not name.startswith("unwilling") or name.endswith(("v", "w")), "source": "s"}
        for name in names
    ]  # fmt: skip
    with made.run("data", as_of=datetime.now(UTC).date()) as run:
        run.replace("customers", TABLES["customers"].build(rows))
        run.replace("consents", TABLES["consents"].build(consents))
    for name in JOURNEYS:
        journey = {
            "name": name,
            "title": name,
            "entries": [{"on": "event", "event": name, "to": "mail"}],
            "nodes": {"mail": {"kind": "action", "channel": "email"}},
        }
        save_journey(made.store, journey_from_json(journey))
        start_journey(made.store, name, now_ms=int(datetime.now(UTC).timestamp() * 1000))
    yield made
    made.close()


def follow_and_send(folder: Path) -> None:
    """A worker to which a few messages are many: what it brings to people takes it many transactions."""
    readdressing._CHUNK = 4
    work_on(folder, "move", "journeys", "deliveries")


def sign_up(shop: Workspace, number: int, *kinds: str, records: str) -> None:
    """These records of the round's people enter the journeys of their kinds."""
    messages = [
        {"type": "track", "userId": name + record, "event": event, "messageId": f"{name}{record}-{event}"}
        for kind in kinds
        for name in name_people(number, kind)
        for record in records
        for event in KINDS[kind].signs[record]
    ]
    assert {one.status for one in take_events(shop, messages)} == {"accepted"}


def count_wanted(rounds: int) -> int:
    """Messages that all records of so many rounds signed up for."""
    signs = [sign for kind in KINDS.values() for record in "vw" for sign in kind.signs[record]]
    return rounds * EACH * len(signs)


def join_records(shop: Workspace, people: list[str]) -> dict[str, str]:
    """Each one's records are this person's from now on; record → person."""
    joined = {name + record: name for name in people for record in ("", "v", "w")}
    while True:
        # A worker that wrote meanwhile comes first.
        with suppress(Conflict), shop.run("data", as_of=datetime.now(UTC).date()) as run:
            rows = [
                {"record_id": one, "customer_id": whose, "run_id": run.id} for one, whose in joined.items()
            ]
            run.replace("identities", TABLES["identities"].build(rows))
            return {one: whose for one, whose in joined.items() if one != whose}


def count_followed(shop: Workspace, joined: Mapping[str, str]) -> tuple[int, int]:
    """Of messages of these records that nobody was told yet: how many stand under people, how many do not."""
    rows = [row["customer_id"] for row in read_rows(shop, DELIVERIES) if row["state"] in ("queued", "leased")]
    people = set(joined.values())
    return sum(one in people for one in rows), sum(one in joined for one in rows)


def is_done(shop: Workspace, wanted: int) -> bool:
    """Nothing waits any more, however it ended."""
    states = [row["state"] for row in read_rows(shop, DELIVERIES)]
    return len(states) == wanted and not {"queued", "leased", "intent"} & set(states)


def has_followed(shop: Workspace, joined: Mapping[str, str]) -> bool:
    """Whether a message of these records stands under its person, whatever became of it."""
    people = set(joined.values())
    return any(row["customer_id"] in people for row in read_rows(shop, DELIVERIES))


def queue_round(shop: Workspace, number: int, worker: Any) -> list[str]:
    """Nothing goes out until records are joined: so it is known what each must get. Returns the round's people."""
    with shop.store.begin() as connection:
        assert halt(connection, "test")
    sign_up(shop, number, *(kind for kind in KINDS if kind != "before"), records="vw")
    sign_up(shop, number, "before", records="w")
    wanted = count_wanted(number + 1)
    wait_until(lambda: len(read_rows(shop, DELIVERIES)) == wanted, "not queued", process=worker)
    suppress_customers(shop.store, [f"{one}w" for one in name_people(number, "refused")])
    return [name for kind in KINDS for name in name_people(number, kind)]


def send_again(shop: Workspace) -> None:
    with shop.store.begin() as connection:
        assert go_on(connection)


def kill_thrice(
    shop: Workspace, joined: Mapping[str, str], worker: Any, chance: random.Random
) -> tuple[Any, int]:
    """The worker that lives afterwards, and how many kills came when some messages had followed and others not."""
    midway = 0
    wait_until(lambda: has_followed(shop, joined), "nobody followed", process=worker)
    for longest in PAUSES:
        sleep_at_random(chance, longest)
        assert kill(worker), "the worker ended by itself"
        midway += all(count_followed(shop, joined))
        worker = start(follow_and_send, shop.path)
    return worker, midway


def test_what_follows_a_person_past_kills_arrives_once(
    shop: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, chance = count_kills(ROUNDS), random.Random(11)
    midway, people = 0, list[str]()
    with Sink(tmp_path / "mail") as sink:
        monkeypatch.setenv("AIMWELL_SMTP__PORT", str(sink.port))
        monkeypatch.setenv("AIMWELL_PUBLIC_URL", "http://127.0.0.1:1")
        worker = start(follow_and_send, shop.path)
        try:
            sign_up(shop, 0, "before", records="v")
            for number in range(rounds):
                some = queue_round(shop, number, worker)
                people += some
                joined = join_records(shop, people)
                send_again(shop)
                if number + 1 < rounds:
                    sign_up(shop, number + 1, "before", records="v")
                theirs = {one: whose for one, whose in joined.items() if whose in some}
                worker, between = kill_thrice(shop, theirs, worker, chance)
                midway += between
            wait_until(lambda: is_done(shop, count_wanted(rounds)), "not everything ended", process=worker)
        finally:
            kill(worker)
    kills = rounds * len(PAUSES)
    check_ledger(shop, people, kills)
    check_mails(shop, tmp_path / "mail", people)
    print(f"{kills} kills, {midway} of them while messages followed, {sink.count} mails")
    assert midway, "no kill came between"


def check_ledger(shop: Workspace, people: list[str], kills: int) -> None:
    got, left = Counter[str](), defaultdict[str, Counter[str]](Counter)
    rows = read_rows(shop, DELIVERIES)
    assert {row["state"] for row in rows} <= {"sent", "skipped", "in_doubt"}, "a message was lost"
    for row in rows:
        if row["state"] == "skipped":
            left[row["customer_id"].rstrip("vw")][row["reason"]] += 1
        else:
            got[row["customer_id"]] += 1
    assert set(got) <= set(people), "sent under a record"
    for name in people:
        kind = KINDS[name.partition("-")[0]]
        assert (name, got[name], left[name]) == (name, kind.sent, kind.left)
    assert sum(row["state"] == "in_doubt" for row in rows) <= 8 * kills
    assert len(rows) == count_wanted(kills // len(PAUSES)) and all(
        one.holds for one in check_sums(shop.store)
    )


def check_mails(shop: Workspace, folder: Path, people: list[str]) -> None:
    rows = read_rows(shop, DELIVERIES)
    sender = shop.settings.smtp.sender
    whose = {identify_mail(row["delivery_id"], sender): row for row in rows}
    mails = [message_from_bytes(path.read_bytes()) for path in sorted(folder.glob("*.eml"))]
    arrived = Counter(str(mail["Message-ID"]) for mail in mails)
    assert max(arrived.values()) == 1, "silent duplicates"
    states = {name: row["state"] for name, row in whose.items()}
    sent = {name for name, state in states.items() if state == "sent"}
    assert sent <= set(arrived) <= {name for name, state in states.items() if state != "skipped"}
    for mail in mails:
        address = parseaddr(str(mail["To"]))[1].partition("@")[0]
        person = whose[str(mail["Message-ID"])]["customer_id"]
        early = person.startswith("before") and address == f"{person}v"
        assert address == person or early, "not to the person"
