"""What customers choose holds at once, above files, and is kept with its proof; on both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aimwell.deployment.tracking.preferences import (
    CENTRE,
    UNSUBSCRIBE,
    Act,
    OwnCap,
    allow,
    choose_cap,
    choose_language,
    choose_topic,
    mark_changes_told,
    read_changes,
    read_languages,
    read_own_caps,
    read_refused_topics,
    read_standing,
    withdraw,
)
from aimwell.engine.permissions import (
    ConsentState,
    Suppression,
    add_suppression,
    list_suppressions,
    remember_consents,
    take_turn,
)
from aimwell.engine.store import Store
from tests.deployment.scene import count_reasons, fill, open_ledger
from tests.deployment.stores import BOTH, find_address
from tests.deployment.tracking.scene import AT, permit
from tests.postgres import postgres  # noqa: F401 (a fixture)


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = Store(find_address(request.param, tmp_path, request))
    yield opened
    opened.close()


def act(at_ms: int = AT, customer: str = "c1", source: str = UNSUBSCRIBE) -> Act:
    return Act(customer, source, at_ms, {"delivery": "d"})


def stand(store: Store, customer: str = "c1") -> dict[str, bool]:
    with store.begin() as connection:
        return dict(read_standing(connection, customer, AT).channels)


def test_a_withdrawal_stops_what_waits_and_no_file_undoes_it(store: Store) -> None:
    ledger = open_ledger(store)
    fill(ledger, ["c1", "c2"])
    with store.begin() as connection:
        assert withdraw(connection, act(), ["email"]) == ["email"]
    # A file of the day after, which still has the old permission.
    ledger.remember_consents([("c1", "email", True, AT + 10**9)])
    taken = ledger.reserve("p1", "email", limit=10)
    assert [row.customer_id for row in taken.rows] == ["c2"]
    assert count_reasons(ledger).get("suppressed") == 1


def test_doing_it_twice_changes_nothing(store: Store) -> None:
    permit(store, "c1", "email", "sms")
    for later in range(3):
        with store.begin() as connection:
            ended = withdraw(connection, act(AT + later), ["email"])
        assert ended == (["email"] if later == 0 else [])
    with store.begin() as connection:
        changes = read_changes(connection)
        assert [(change.kind, change.channel, change.allowed) for change in changes] == [
            ("marketing", "email", False)
        ]
        mark_changes_told(connection, changes, AT)
        assert read_changes(connection) == []
    assert stand(store) == {"email": False, "sms": True}


def test_a_permission_takes_back_the_customers_own_word_only(store: Store) -> None:
    permit(store, "c1", "email", "sms", "call")
    with store.begin() as connection:
        withdraw(connection, act(), ["email"])
        add_suppression(connection, Suppression("c1", "sms", "cli", AT))
        opened = allow(
            connection, act(AT), {"email": "I agree.", "sms": "I agree.", "carrier pigeon": "I agree."}
        )
        assert opened == ["email"]
        assert allow(connection, act(AT + 1), {"email": "I agree."}) == []
        assert [line.channel for line in list_suppressions(connection, ["c1"])] == ["sms"]
        given = read_changes(connection)[-1]
    assert given.allowed is True and given.proof == {"delivery": "d", "text": "I agree."}
    assert stand(store) == {"email": True, "sms": False, "call": True}


def test_an_old_page_opens_nothing(store: Store) -> None:
    permit(store)
    with store.begin() as connection:
        withdraw(connection, act(AT + 5), ["email"])
        assert allow(connection, act(AT + 9), {"email": "I agree."}, shown_ms=AT + 4) == []
        assert allow(connection, act(AT + 9), {"email": "I agree."}, shown_ms=AT + 5) == ["email"]


def test_who_had_stopped_everything_and_opens_one_way_keeps_the_rest_closed(store: Store) -> None:
    permit(store, "c1", "email", "sms")
    with store.begin() as connection:
        add_suppression(connection, Suppression("c1", "all", "reply", AT))
        assert allow(connection, act(AT + 1), {"email": "I agree."}) == ["email"]
    assert stand(store) == {"email": True, "sms": False}


def test_what_the_business_closed_stays_closed(store: Store) -> None:
    permit(store, "c1", "email", "sms")
    with store.begin() as connection:
        add_suppression(connection, Suppression("c1", "all", "cli", AT))
        assert allow(connection, act(AT + 1), {"email": "I agree."}) == []
        assert read_standing(connection, "c1", AT).blocked == {"email", "sms"}


def test_a_clock_that_goes_wrong_does_not_undo_a_withdrawal(store: Store) -> None:
    with store.begin() as connection:
        take_turn(connection)
        remember_consents(connection, [ConsentState("c1", "email", True, AT + 10**6)])
        withdraw(connection, act(AT), ["email"])
    assert stand(store) == {"email": False}
    with store.begin() as connection:
        assert allow(connection, act(AT), {"email": "I agree."}) == ["email"]
    assert stand(store) == {"email": True}


def test_a_permission_that_ended_is_shown_as_off(store: Store) -> None:
    with store.begin() as connection:
        take_turn(connection)
        remember_consents(
            connection, [ConsentState("c1", "email", True, 1, AT), ConsentState("c1", "sms", True, 1, AT + 1)]
        )
    assert stand(store) == {"email": False, "sms": True}


def test_own_limits_topics_and_language_are_read_by_many(store: Store) -> None:
    names = [f"c{n}" for n in range(1_200)]
    with store.begin() as connection:
        assert choose_cap(connection, act(source=CENTRE), OwnCap(2, 30)) is True
        assert choose_cap(connection, act(source=CENTRE), OwnCap(2, 30)) is False
        assert choose_cap(connection, act(customer="c700"), OwnCap(1, 30)) is True
        assert choose_cap(connection, act(customer="c701"), None) is False
        assert choose_language(connection, act(), "zh") is True
        assert choose_language(connection, act(), "zh") is False
        assert choose_topic(connection, act(), "email", "offers", allowed=True) is False
        assert choose_topic(connection, act(), "email", "offers", allowed=False) is True
        assert choose_topic(connection, act(), "email", "offers", allowed=False) is False
        assert read_own_caps(connection, names) == {"c1": OwnCap(2, 30), "c700": OwnCap(1, 30)}
        assert read_languages(connection, names) == {"c1": "zh"}
        assert read_refused_topics(connection, names) == {("c1", "email", "offers")}
        standing = read_standing(connection, "c1", AT)
        assert standing.cap == OwnCap(2, 30) and standing.language == "zh"
        assert choose_cap(connection, act(), None) is True
        assert choose_topic(connection, act(), "email", "offers", allowed=True) is True
        assert "c1" not in read_own_caps(connection, names)
        assert read_refused_topics(connection, names) == set()
        kinds = [change.kind for change in read_changes(connection)]
    assert kinds == ["frequency", "frequency", "language", "topic", "frequency", "topic"]


def test_many_pages_at_once_end_in_one_state(store: Store) -> None:
    permit(store, "c1", "email", "sms")
    errors: list[BaseException] = []

    def press(number: int) -> None:
        try:
            for _ in range(5):
                with store.begin() as connection:
                    withdraw(connection, act(AT + number), ["email", "sms"])
                    choose_topic(connection, act(AT), "email", "offers", allowed=bool(number % 2))
                    choose_cap(connection, act(AT), OwnCap(1 + number % 2, 30))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=press, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with store.begin() as connection:
        withdrawn = [change.channel for change in read_changes(connection) if change.kind == "marketing"]
    assert sorted(str(channel) for channel in withdrawn) == ["email", "sms"]
    assert stand(store) == {"email": False, "sms": False}
