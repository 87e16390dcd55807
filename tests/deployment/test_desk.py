from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.core.errors import BadInput, Conflict
from aimwell.deployment.channels.calls import CallDesk
from aimwell.deployment.channels.channel import Message, Promise
from aimwell.deployment.channels.event_outbox import forward_events
from aimwell.deployment.desk.outcomes import OUTCOMES, CallResult, Retry, record_outcome, title_outcome
from aimwell.deployment.desk.tasks import (
    NewTask,
    Shift,
    Taken,
    Task,
    add_tasks,
    count_tasks,
    list_tasks,
    read_task,
    release_task,
    take_next,
)
from aimwell.deployment.policy import Candidate
from aimwell.deployment.sending import work
from aimwell.engine.channel_tables import CALL_ATTEMPTS
from aimwell.engine.permissions import (
    ConsentState,
    Suppression,
    add_suppression,
    list_suppressions,
    remember_consents,
    take_turn,
)
from aimwell.engine.store import Store
from tests.deployment.scene import count, count_reasons, fill, open_ledger, open_store
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)

SHIFT = Shift(hour=10, day_began_ms=0, lease_ms=1_000)
HOUR = 3_600_000


def task(number: int, *, customer: str | None = None, **values: Any) -> NewTask:
    settings = {
        "kind": "call",
        "plan_id": "p1",
        "card": {"phone": "+861", "name": "王小明"},
        "due_ms": 0,
        **values,
    }
    return NewTask(f"{number:064d}", customer or f"c{number}", planned_seconds=240, **settings)


def put(store: Store, *tasks: NewTask) -> int:
    with store.begin() as connection:
        return add_tasks(connection, tasks, 1)


def take(store: Store, agent: str = "ann", now: int = 100, shift: Shift = SHIFT) -> Taken:
    with store.begin() as connection:
        return take_next(connection, agent, shift, now)


def number_of(taken: Taken) -> int | None:
    return None if taken.task is None else int(taken.task.task_id)


def enter(
    store: Store, held: Task, outcome: Any, *, agent: str = "ann", now: int = 200, **values: Any
) -> Task:
    result = CallResult(held.task_id, held.turn, agent, outcome, **values)
    with store.begin() as connection:
        return record_outcome(connection, result, now, retry=Retry(attempts=3, pause_ms=HOUR))


def hold(store: Store, agent: str = "ann", now: int = 100) -> Task:
    taken = take(store, agent, now).task
    assert taken is not None
    return taken


def read_events(store: Store) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    forward_events(store, events.extend)
    return events


def test_the_next_best_call_comes_first(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, task(1, priority=100), task(2, priority=900), task(3, priority=50, best_hour=10),
        task(4, priority=999, due_ms=10_000), task(5, priority=20, best_hour=15))  # fmt: skip
    order = []
    while (taken := take(store)).task is not None:
        order.append(number_of(taken))
        enter(store, taken.task, "reached")
    assert order == [3, 2, 1, 5] and taken.why == "empty"
    assert number_of(take(store, now=10_000)) == 4


def test_whoever_has_a_call_gets_that_one_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, task(1), task(2))
    first = hold(store)
    again = hold(store, now=900)
    assert (again.task_id, again.turn) == (first.task_id, first.turn) and again.lease_until_ms == 1_900
    assert hold(store, "bob").task_id != first.task_id
    assert number_of(take(store, "eve")) is None
    with store.begin() as connection:
        assert not release_task(connection, first.task_id, "bob")
        assert release_task(connection, first.task_id, "ann")
    assert hold(store, "eve").task_id == first.task_id


def test_a_task_that_an_agent_lost_is_somebody_elses(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, task(1))
    lost = hold(store)
    taken = hold(store, "bob", now=1_100)
    with pytest.raises(Conflict):
        enter(store, lost, "reached")
    enter(store, taken, "interested", agent="bob")
    with pytest.raises(Conflict):
        enter(store, lost, "declined")
    put(store, task(2))
    late = hold(store)
    assert enter(store, late, "reached", now=99_000).state == "done", (
        "nobody took it: the call was made all the same"
    )


def run_agents(store: Store, tasks: int, agents: int) -> list[str]:
    put(store, *(task(number, priority=number % 7) for number in range(tasks)))
    done: list[str] = []

    def serve(agent: str) -> None:
        while (taken := take(store, agent).task) is not None:
            done.append(taken.task_id)
            enter(store, taken, "reached", agent=agent, seconds=60)

    threads = [threading.Thread(target=serve, args=(f"agent{number}",)) for number in range(agents)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def test_several_agents_never_get_the_same(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    done = run_agents(store, 60, 4)
    assert len(done) == len(set(done)) == 60
    with store.begin() as connection:
        assert count_tasks(connection) == {"done": 60}


def _open(server: Server, name: str) -> Store:
    server.run(f"CREATE DATABASE {name}")
    store = Store(server.address(name))
    store.migrate()
    return store


def test_several_agents_never_get_the_same_on_postgresql(postgres: Server) -> None:  # noqa: F811
    done = run_agents(_open(postgres, "agents"), 60, 6)
    assert len(done) == len(set(done)) == 60


def check_capacity(store: Store) -> None:
    put(store, *(task(number) for number in range(10)), task(99, kind="reply", priority=-1))
    shift = Shift(hour=10, day_began_ms=0, lease_ms=1_000, capacity_seconds=600)
    found: list[Taken] = []

    def ask(agent: str) -> None:
        found.append(take(store, agent, shift=shift))

    threads = [threading.Thread(target=ask, args=(f"agent{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = sorted(taken.task.kind if taken.task else taken.why for taken in found)
    # Two calls of 240 seconds fit into 600; what must be read is read all the same.
    assert kinds == ["call", "call", "capacity", "capacity", "reply"]


def test_the_day_has_only_so_many_minutes(tmp_path: Path) -> None:
    check_capacity(open_store(tmp_path))


def test_the_day_has_only_so_many_minutes_on_postgresql(postgres: Server) -> None:  # noqa: F811
    check_capacity(_open(postgres, "capacity"))


def test_nobody_is_called_at_night(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, task(1), task(2, kind="reply", priority=-5))
    night = Shift(hour=22, day_began_ms=0)
    assert number_of(take(store, shift=night)) == 2
    assert take(store, "bob", shift=night).why == "closed"
    assert number_of(take(store, "bob")) == 1


def test_wishes_count_until_the_call(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(
        store,
        task(1),
        task(2),
        task(3),
        task(4, expires_ms=90),
        task(5),
        task(6, customer="c1", kind="reply"),
    )
    with store.begin() as connection:
        add_suppression(connection, Suppression("c1", "all", "cli", 1))
        add_suppression(connection, Suppression("c2", "call", "cli", 1))
        take_turn(connection)
        remember_consents(
            connection, [ConsentState("c3", "call", False, 1), ConsentState("c5", "call", True, 1, 5_000)]
        )
    taken = take(store)
    assert number_of(taken) == 5 and len(taken.closed) == 4
    assert number_of(take(store, "bob")) == 6, "what somebody wrote is read whatever they allow"
    with store.begin() as connection:
        closed = {int(one.task_id): one.outcome for one in list_tasks(connection, state="done")}
        empty = [one.card for one in list_tasks(connection, state="done")]
    assert closed == {1: "suppressed", 2: "suppressed", 3: "withdrawn", 4: "expired"}
    assert empty == [{}] * 4, "of calls that are over nothing personal is kept"


def test_whoever_withdraws_while_an_agent_holds_the_task_is_not_called(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, task(1, priority=9), task(2))
    assert number_of(take(store)) == 1
    with store.begin() as connection:
        add_suppression(connection, Suppression("c1", "all", "reply", 1))
    taken = take(store)
    assert number_of(taken) == 2 and len(taken.closed) == 1


def test_call_backs_come_at_their_time_to_their_agent(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, task(1), task(2, priority=500, due_ms=150))
    after = enter(store, hold(store), "call_back", call_back_at_ms=5_000, note="下午再打")
    assert (after.state, after.promised, after.due_ms) == ("open", True, 5_000)
    enter(store, hold(store, now=4_999), "reached", now=4_999)
    assert number_of(take(store, now=4_999)) is None
    put(store, task(3, priority=10_000))
    assert number_of(take(store, now=5_000)) == 1
    again = enter(store, hold(store, now=5_000), "interested", now=5_100)
    assert (again.state, again.attempts) == ("done", 2)


def test_a_promise_is_kept_by_whoever_gave_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, task(1), task(2))
    one, two = hold(store), hold(store, "bob")
    enter(store, one, "call_back", call_back_at_ms=5_000)
    enter(store, two, "call_back", call_back_at_ms=4_000, agent="bob")
    assert hold(store, now=6_000).task_id == one.task_id
    assert hold(store, "eve", now=6_000).task_id == two.task_id


def test_who_does_not_answer_is_called_so_often_and_no_more(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ledger = open_ledger(store)
    fill(ledger, ["a"], channel="call")
    desk = CallDesk(store, clock=lambda: 0.001)
    work(ledger, plan_id="p1", channel_name="call", channel=desk, compose=write_call)
    assert count(ledger) == {"sent": 1}
    now = 100
    for attempt in (1, 2, 3):
        held = hold(store, now=now)
        assert held.attempts == attempt - 1
        enter(store, held, "not_reached", now=now)
        assert take(store, now=now + HOUR - 1).task is None
        now += HOUR
    assert take(store, now=now).task is None
    assert count_reasons(ledger) == {"not_reached": 1} and count(ledger) == {"failed": 1}
    reached = [event["properties"]["reached"] for event in read_events(store)]
    assert reached == [False, False, False]


def write_call(candidate: Candidate) -> Message:
    details = {"best_hour": "18:00–19:00", "reason": "高价值客户", "offer": "生鲜8折", "priority": "1250"}
    return Message(candidate.delivery_id, "p1", candidate.customer_id, "+8613800138000", "您好！", name="王小明",
                   details=details)  # fmt: skip


def test_a_delivery_becomes_a_task_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ledger = open_ledger(store)
    fill(ledger, ["a", "b"], channel="call")
    desk = CallDesk(store, clock=lambda: 0.001)
    assert desk.promise is Promise.REJECTS_REPEATS
    work(ledger, plan_id="p1", channel_name="call", channel=desk, compose=write_call)
    for row in ledger.read_rows():
        desk.deliver(Message(row["delivery_id"], "p1", row["customer_id"], "+861", "again"))
    with store.begin() as connection:
        tasks = list_tasks(connection)
    assert len(tasks) == 2
    one = tasks[0]
    assert (one.best_hour, one.priority, one.planned_seconds) == (18, 1250, 240)
    assert one.card == {"name": "王小明", "phone": "+8613800138000", "script": "您好！", "reason": "高价值客户",
                        "offer": "生鲜8折"}  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "lines", "withdrawn"),
    [
        ("do_not_call", [("c1", "call", "desk:do_not_call")], True),
        ("complaint", [("c1", "all", "desk:complaint")], True),
        ("wrong_number", [("c1", "call", "desk:wrong_number")], False),
        ("declined", [], False),
    ],
)
def test_what_the_customer_wants_holds_at_once(
    tmp_path: Path, outcome: str, lines: list[tuple[str, str, str]], withdrawn: bool
) -> None:
    store = open_store(tmp_path)
    put(store, task(1), task(2, customer="c1"))
    enter(store, hold(store), outcome, seconds=90, note=" 不要再打 ")
    with store.begin() as connection:
        found = [(line.customer_id, line.channel, line.source) for line in list_suppressions(connection)]
        kept = connection.execute(sa.select(CALL_ATTEMPTS.c.note, CALL_ATTEMPTS.c.seconds)).one()
    assert found == lines and tuple(kept) == ("不要再打", 90)
    assert (take(store).task is None) is bool(lines)
    events = {event["event"]: event["properties"] for event in read_events(store)}
    assert ("Consent Withdrawn" in events) is withdrawn
    assert (events["Call Completed"]["outcome"], events["Call Completed"]["seconds"]) == (outcome, 90)
    assert "note" not in events["Call Completed"], "what an agent wrote freely stays at the desk"


def test_whoever_answered_an_sms_means_sms(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, task(1, kind="reply", card={"text": "别烦我好吗", "channel": "sms"}))
    enter(store, hold(store), "do_not_call")
    with store.begin() as connection:
        assert [line.channel for line in list_suppressions(connection)] == ["sms"]
    assert {event["event"] for event in read_events(store)} == {"Reply Handled", "Consent Withdrawn"}


def test_entering_twice_counts_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, task(1))
    held = hold(store)
    first = enter(store, held, "interested")
    assert enter(store, held, "interested", now=300) == first
    with pytest.raises(Conflict):
        enter(store, held, "declined", now=300)
    assert len(read_events(store)) == 1


@pytest.mark.parametrize(
    ("outcome", "values"),
    [("bought", {}), ("answered", {}), ("reached", {"note": "x" * 501}), ("reached", {"seconds": -1}),
     ("reached", {"seconds": 99_999}), ("call_back", {}), ("call_back", {"call_back_at_ms": 200}),
     ("call_back", {"call_back_at_ms": 200 + 400 * 24 * HOUR}), ("reached", {"call_back_at_ms": 5_000})],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_changes_nothing(
    tmp_path: Path, outcome: str, values: dict[str, Any]
) -> None:
    store = open_store(tmp_path)
    put(store, task(1))
    held = hold(store)
    with pytest.raises(BadInput):
        enter(store, held, outcome, **values)
    with store.begin() as connection:
        after = read_task(connection, held.task_id)
    assert after is not None and (after.state, after.attempts) == ("taken", 0) and read_events(store) == []


def test_a_task_may_be_named_by_its_beginning(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, NewTask("ab" * 32, "a", "call", "p1", {}, 0), NewTask("ac" * 32, "b", "call", "p1", {}, 0))
    with store.begin() as connection:
        assert read_task(connection, "ab") is not None
        assert read_task(connection, "a") is None and read_task(connection, "%") is None
    with pytest.raises(BadInput):
        enter(store, hold(store).__class__(**{**vars(hold(store)), "task_id": "zz"}), "reached")


def test_every_outcome_has_a_title() -> None:
    for outcome in (*OUTCOMES, "expired", "suppressed", "withdrawn"):
        assert title_outcome(outcome).render("zh") != title_outcome(outcome).render("en") or outcome == "?"


def test_an_erasure_finds_every_table_of_channels(tmp_path: Path) -> None:
    from aimwell.data.erasure_store import list_person_tables
    from aimwell.data.titles import name_place

    store = open_store(tmp_path)
    put(store, task(1))
    enter(store, hold(store), "interested", note="想要试驾")
    found = {table.name: column for table, column in list_person_tables()}
    own = ("call_tasks", "call_attempts", "channel_events", "in_app_messages", "provider_messages", "visits")
    with store.begin() as connection:
        for name in own:
            connection.execute(sa.delete(found[name].table).where(found[name] == "c1"))
            left = connection.execute(sa.select(sa.func.count()).select_from(found[name].table)).scalar_one()
            assert left == 0 and str(name_place(f"store:{name}")) != name
