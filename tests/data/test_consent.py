"""Consents: one definition for all rooms, changes with their history, the suppression list, the preference centre."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from aimwell.cli.app import app
from aimwell.core.errors import BadInput
from aimwell.core.tables import CHANNELS, TABLES
from aimwell.data.consent import (
    Answer,
    describe_preferences,
    read_suppressions,
    set_consent,
    show_consents,
    suppress,
    unsuppress,
)
from aimwell.data.person import read_person
from aimwell.data.step import add_source, load_tables
from aimwell.deployment.ledger import Ledger
from aimwell.deployment.ledger_rows import Intended
from aimwell.deployment.policy import ContactRules
from aimwell.engine.consent import bind_instant, select_consents
from aimwell.engine.workspace import Workspace
from tests.data.shop import count, make_workspace, write

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workspace]:
    workspace = make_workspace(tmp_path)
    file = write(tmp_path, "customer_id,email,语言\nc1,a@example.org,中文\nc2,,en\n", name="people.csv")
    add_source(workspace, file, table="customers", accept=True)
    yield workspace
    workspace.close()


def ask_state(rows: list[dict[str, object]], at: datetime, **options: object) -> dict[tuple[str, str], bool]:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.register("consents", TABLES["consents"].build(rows))
    sql = select_consents(**options)  # type: ignore[arg-type]
    found = con.sql(sql, params=dict(bind_instant(at))).to_arrow_table().to_pylist()
    con.close()
    return {(row["customer_id"], row["channel"]): row["allowed"] for row in found}


def row(hours: float, allowed: bool, *, until: float | None = None, source: str = "s") -> dict[str, object]:
    return {
        "customer_id": "c",
        "channel": "sms",
        "purpose": "marketing",
        "allowed": allowed,
        "since": NOON + timedelta(hours=hours),
        "until": None if until is None else NOON + timedelta(hours=until),
        "source": source,
    }


def test_the_latest_word_at_the_instant_counts_and_the_refusal_of_two() -> None:
    assert ask_state([row(-2, True), row(-1, False)], NOON) == {("c", "sms"): False}
    assert ask_state([row(-2, False), row(-1, True), row(1, False)], NOON) == {("c", "sms"): True}
    assert ask_state([row(0, True), row(0, False, source="t")], NOON) == {("c", "sms"): False}
    assert ask_state([row(1, True)], NOON) == {}


def test_what_has_ended_allows_nothing_and_brings_nothing_back() -> None:
    assert ask_state([row(-5, True, until=1)], NOON) == {("c", "sms"): True}
    assert ask_state([row(-5, True, until=0)], NOON) == {("c", "sms"): False}
    assert ask_state([row(-9, True), row(-5, True, until=-1)], NOON) == {("c", "sms"): False}


def test_a_planner_hears_refusals_of_any_time_and_a_day_knows_nothing_of_itself() -> None:
    rows = [row(-5, True), row(3, False)]
    assert ask_state(rows, NOON) == {("c", "sms"): True}
    assert ask_state(rows, NOON, any_refusal=True) == {("c", "sms"): False}
    before = bind_instant(NOON, before=True)
    assert before["consent_known"] < NOON == before["consent_at"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-6, 6), st.booleans(), st.none() | st.integers(-6, 6)),
        max_size=6,
        unique_by=lambda one: one[0],
    )
)
def test_sql_says_what_plain_words_say(history: list[tuple[int, bool, int | None]]) -> None:
    rows = [row(since, allowed, until=until) for since, allowed, until in history]
    known = [one for one in history if one[0] <= 0]
    latest = max(known, default=None)
    expected = {} if latest is None else {("c", "sms"): latest[1] and (latest[2] is None or latest[2] > 0)}
    assert ask_state(rows, NOON) == expected


@pytest.mark.parametrize("dialect", ["spark", "clickhouse"])
def test_the_definition_can_be_said_to_other_engines(dialect: str) -> None:
    sql = select_consents(purpose="marketing", any_refusal=True, where="customer_id = 'c'")
    (said,) = sqlglot.transpile(sql, read="duckdb", write=dialect)
    assert "ROW_NUMBER" in said.upper()


def test_setting_adds_to_the_history_and_reaches_waiting_deliveries(shop: Workspace) -> None:
    set_consent(shop, "c1", Answer("sms", True, source="app"))
    ledger = Ledger(shop.store, rules=ContactRules(5, 7))
    ledger.enqueue([Intended("p", "c1", "a", "sms", NOON.date(), 5, True)])
    told = set_consent(shop, "c1", Answer("sms", False, source="hotline"))
    assert [entry["source"] for entry in told["history"]] == ["hotline", "app"]
    assert told["states"][0]["effective"] is False
    assert ledger.reserve("p", "sms", limit=5).rows == ()
    with shop.store.begin() as connection:
        audited = connection.execute(
            sa.text("SELECT subject, detail FROM audit_log WHERE action = 'consent.set'")
        ).all()
    assert [entry.subject for entry in audited] == ["sms/marketing"] * 2
    assert not any("c1" in str(entry) for entry in audited)


def test_an_ended_permission_holds_a_delivery_back(shop: Workspace) -> None:
    end = datetime.now(UTC) + timedelta(seconds=60)
    set_consent(shop, "c1", Answer("sms", True, until=end))
    clock = [end.timestamp() + 1]
    ledger = Ledger(shop.store, rules=ContactRules(5, 7), clock=lambda: clock[0])
    ledger.enqueue([Intended("p", "c1", "a", "sms", NOON.date(), 5, True)])
    assert ledger.reserve("p", "sms", limit=5).rows == ()
    with shop.store.begin() as connection:
        reason = connection.execute(sa.text("SELECT reason FROM deliveries")).scalar()
    assert reason == "consent_expired"


def test_service_consents_leave_marketing_alone(shop: Workspace) -> None:
    set_consent(shop, "c1", Answer("email", True))
    told = set_consent(shop, "c1", Answer("email", False, purpose="service"))
    assert {state["purpose"]: state["allowed"] for state in told["states"]} == {
        "marketing": True,
        "service": False,
    }
    with shop.store.begin() as connection:
        states = connection.execute(sa.text("SELECT channel, allowed FROM consent_states")).all()
    assert [tuple(state) for state in states] == [("email", 1)]


def test_bad_answers_are_refused(shop: Workspace) -> None:
    for customer, answer, message in (
        ("nobody", Answer("sms", True), "no customer"),
        ("c1", Answer("pigeon", True), "pigeon"),
        ("c1", Answer("sms", True, purpose="fun"), "fun"),
        ("c1", Answer("sms", True, since=datetime.now(UTC) + timedelta(days=2)), "future"),
        ("c1", Answer("sms", True, until=NOON - timedelta(days=3000)), "before it begins"),
    ):
        with pytest.raises(BadInput, match=message):
            set_consent(shop, customer, answer)
    assert count(shop, "consents") == 0


def test_the_suppression_list_covers_all_records_of_a_person(shop: Workspace) -> None:
    with shop.run("test", as_of=NOON.date()) as run:
        links = [{"record_id": name, "customer_id": "c1", "run_id": run.id} for name in ("c1", "c2")]
        run.replace("identities", TABLES["identities"].build(links))
    assert suppress(shop, "c2", channel="sms", source="letter")
    assert not suppress(shop, "c1", channel="sms")
    listed = read_suppressions(shop)
    assert {entry["customer_id"] for entry in listed["suppressions"]} == {"c1", "c2"}
    set_consent(shop, "c1", Answer("sms", True))
    state = show_consents(shop, "c2")
    assert (state["customer_id"], state["states"][0]["effective"]) == ("c1", False)
    assert unsuppress(shop, "c1") == 2
    assert read_suppressions(shop)["total"] == 0


def test_the_preference_centre_shows_every_channel(shop: Workspace) -> None:
    set_consent(shop, "c1", Answer("email", True))
    page = describe_preferences(shop, "c1")
    assert page["language"] == "zh"
    email = next(channel for channel in page["channels"] if channel["channel"] == "email")
    assert email["reachable"] is True
    assert [purpose["allowed"] for purpose in email["purposes"]] == [True, None]
    assert len(page["channels"]) == len(CHANNELS)
    assert describe_preferences(shop, "c2")["language"] == "en"


def test_files_and_typed_deliveries_keep_the_end(shop: Workspace) -> None:
    end = NOON + timedelta(days=30)
    table: pa.Table = TABLES["consents"].build([{**row(-1, True), "customer_id": "c1", "until": end}])
    for _ in range(2):
        load_tables(shop, "crm", {"consents": table}, as_of=datetime.now(UTC).date() + timedelta(days=1))
    state = show_consents(shop, "c1", at=NOON)
    assert (len(state["history"]), state["states"][0]["until"]) == (1, end)
    assert show_consents(shop, "c1", at=end)["states"][0]["expired"] is True


def test_the_commands_show_set_and_list(shop: Workspace) -> None:
    def run(*words: str) -> dict[str, object]:
        done = CliRunner().invoke(app, ["-w", str(shop.path), "--json", "data", "consent", *words])
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout))

    run("set", "c1", "sms", "--allow", "--source", "desk", "--since", "2026-01-05")
    assert run("c1")["states"][0]["allowed"] is True  # type: ignore[index]
    assert run("suppress", "c1")["added"] is True
    assert run("show", "c1")["states"][0]["effective"] is False  # type: ignore[index]
    assert run("suppressions")["total"] == 1
    assert run("unsuppress", "c1")["removed"] == 1
    assert run("preferences", "c1")["customer_id"] == "c1"
    for words in (("c1",), ("preferences", "c1"), ("suppressions",)):
        shown = CliRunner().invoke(app, ["-w", str(shop.path), "--language", "zh", "data", "consent", *words])
        assert shown.exit_code == 0


def test_a_number_typed_in_full_width_signs_is_found(shop: Workspace) -> None:
    set_consent(shop, "ｃ１", Answer("email", allowed=False))
    assert show_consents(shop, "c1")["states"] == show_consents(shop, "　ｃ１ ")["states"] != []
    assert suppress(shop, "ｃ２", channel="sms")
    assert not suppress(shop, "c2", channel="sms")
    assert "c2" in {row["customer_id"] for row in read_suppressions(shop)["suppressions"]}
    with pytest.raises(BadInput):
        show_consents(shop, "ｃ３")


def test_a_number_that_was_kept_in_full_width_signs_can_still_be_reached(shop: Workspace) -> None:
    # Numbers were not always folded: what older data holds is theirs, and not somebody else's.
    people = TABLES["customers"].build([{"customer_id": "ｃ１", "source": "old"}])
    load_tables(shop, "old", {"customers": people})
    set_consent(shop, "ｃ１", Answer("email", allowed=True))
    assert show_consents(shop, "ｃ１")["customer_id"] == "ｃ１"
    assert show_consents(shop, "c1")["states"] == []
    with shop.read() as reader:
        assert read_person(reader, "ｃ１").customer_id == "ｃ１"
        assert read_person(reader, "ｃ２").customer_id == "c2"
