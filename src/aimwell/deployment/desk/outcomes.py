"""What came of a call: the task ends or comes again, the ledger learns it, the customer's wish holds at once.

Writes the store's ``call_tasks``, ``call_attempts``, ``suppressions``, ``consent_states``, ``channel_events`` and, of
calls that did not reach anybody, ``deliveries``, all in the caller's transaction. The statements are portable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import sqlalchemy as sa

from aimwell.core.errors import BadInput, Conflict
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.deployment.channels.event_outbox import make_event, put_events
from aimwell.deployment.desk.tasks import CHANNEL, Task, close_task, read_task
from aimwell.engine.channel_tables import CALL_ATTEMPTS, CALL_TASKS
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.permissions import (
    ALL_CHANNELS,
    ConsentState,
    Suppression,
    add_suppression,
    remember_consents,
    take_turn,
)

CallOutcome = Literal[
    "reached",
    "interested",
    "declined",
    "not_reached",
    "call_back",
    "do_not_call",
    "wrong_number",
    "complaint",
    "answered",
]
OUTCOMES: tuple[CallOutcome, ...] = get_args(CallOutcome)
NOTE_LENGTH = 500
_LONGEST_CALL = 4 * 3600
_FURTHEST_MS = 366 * 86_400_000
# Whoever answers that number does not want our calls, or is somebody else: it is not dialled again.
_SUPPRESSING = {"do_not_call": CHANNEL, "complaint": ALL_CHANNELS, "wrong_number": CHANNEL}
_WITHDRAWING = ("do_not_call", "complaint")
# Nobody was reached: the ledger counts these as failed, and the contact cap does not count them.
_FAILED = {"not_reached": "not_reached", "wrong_number": "bad_recipient"}


@dataclass(frozen=True)
class Retry:
    """How often a customer who does not answer is called, and after how long again (milliseconds)."""

    attempts: int = 3
    pause_ms: int = 4 * 3_600_000


@dataclass(frozen=True)
class CallResult:
    """What an agent enters. ``turn`` is the one under which the task was taken."""

    task_id: str
    turn: int
    agent: str
    outcome: CallOutcome
    note: str = ""
    seconds: int = 0
    call_back_at_ms: int | None = None


def record_outcome(
    connection: sa.Connection, result: CallResult, now_ms: int, *, retry: Retry | None = None
) -> Task:
    """Enter what came of a task and return it as it stands now.

    Entering the same again changes nothing. BadInput for an unknown task or a value that does not fit; Conflict when
    the agent holds the task no more.
    """
    take_turn(connection)
    task = read_task(connection, result.task_id)
    if task is None:
        raise _unknown_task(result.task_id)
    result = replace(result, task_id=task.task_id, note=result.note.strip())
    _check_result(task, result, now_ms)
    if _was_entered(connection, result):
        return task
    # A lease that ran out counts until somebody else took the task: the call was made all the same.
    if task.state != "taken" or task.agent != result.agent or task.turn != result.turn:
        raise Conflict(
            "deployment.task_not_held",
            say("This task is not yours any more."),
            remedy=say("Take the next one: aimwell desk next"),
            where={"value": task.task_id},
        )
    _keep_attempt(connection, task, result, now_ms)
    _move_on(connection, task, result, now_ms, retry or Retry())
    _keep_wish(connection, task, result, now_ms)
    _tell(connection, task, result, now_ms)
    after = read_task(connection, task.task_id)
    assert after is not None
    return after


def title_outcome(outcome: str) -> Text:
    """The outcome for people, those that the desk itself enters included."""
    titles = {
        "reached": say("customer reached"),
        "interested": say("interested"),
        "declined": say("declined"),
        "not_reached": say("not reached"),
        "call_back": say("call back"),
        "do_not_call": say("do not call again"),
        "wrong_number": say("wrong number"),
        "complaint": say("complaint"),
        "answered": say("answered"),
        "expired": say("too late"),
        "suppressed": say("on the suppression list"),
        "withdrawn": say("consent withdrawn"),
    }
    return titles.get(outcome) or Text(outcome)


def _check_result(task: Task, result: CallResult, now_ms: int) -> None:
    fits = {
        "call": result.outcome != "answered",
        "reply": result.outcome not in ("not_reached", "wrong_number"),
    }
    if result.outcome not in OUTCOMES or not fits[task.kind]:
        raise BadInput(
            "deployment.unknown_outcome",
            say("'{outcome}' is no outcome of this task.", outcome=result.outcome),
            remedy=say("Use one of {values}.", values=join_list(OUTCOMES)),
            where={"column": "outcome", "value": result.outcome[:100]},
        )
    if len(result.note) > NOTE_LENGTH:
        raise BadInput(
            "deployment.note_too_long",
            say(
                "The note has {length} characters, {most} are allowed.",
                length=len(result.note),
                most=NOTE_LENGTH,
            ),
            remedy=say("Write what the next one must know, in a sentence or two."),
            where={"column": "note"},
        )
    if not 0 <= result.seconds <= _LONGEST_CALL:
        raise BadInput(
            "deployment.call_length",
            say("A call lasts from 0 to {most} minutes.", most=_LONGEST_CALL // 60),
            where={"column": "minutes"},
        )
    later = result.call_back_at_ms
    if (later is not None) != (result.outcome == "call_back") or (
        later is not None and not now_ms < later <= now_ms + _FURTHEST_MS
    ):
        raise BadInput(
            "deployment.call_back_time",
            say("A call back needs an instant within the coming year; other outcomes have none."),
            where={"column": "call_back_at"},
        )


def _was_entered(connection: sa.Connection, result: CallResult) -> bool:
    columns = CALL_ATTEMPTS.c
    query = sa.select(columns.outcome).where(
        columns.task_id == result.task_id, columns.turn == result.turn, columns.agent == result.agent
    )
    return connection.execute(query).scalar() == result.outcome


def _keep_attempt(connection: sa.Connection, task: Task, result: CallResult, now_ms: int) -> None:
    values = {
        "task_id": task.task_id,
        "turn": task.turn,
        "customer_id": task.customer_id,
        "agent": result.agent,
        "outcome": result.outcome,
        "seconds": result.seconds,
        "note": result.note or None,
        "at_ms": now_ms,
    }
    connection.execute(sa.insert(CALL_ATTEMPTS).values(**values))


def _move_on(connection: sa.Connection, task: Task, result: CallResult, now_ms: int, retry: Retry) -> None:
    which = CALL_TASKS.c.task_id == task.task_id
    attempts = task.attempts + 1
    connection.execute(sa.update(CALL_TASKS).where(which).values(attempts=attempts))
    again = result.outcome == "not_reached" and attempts < retry.attempts
    if result.outcome == "call_back" or again:
        due = result.call_back_at_ms or now_ms + retry.pause_ms
        values = {
            "state": "open",
            "outcome": result.outcome,
            "due_ms": due,
            "promised": not again,
            # Whoever promised calls; somebody else only where that agent does not.
            "agent": None if again else result.agent,
            "lease_until_ms": None,
        }
        connection.execute(sa.update(CALL_TASKS).where(which).values(**values))
        return
    close_task(connection, task.task_id, result.outcome, now_ms)
    if reason := _FAILED.get(result.outcome):
        delivery = (DELIVERIES.c.delivery_id == task.task_id) & (DELIVERIES.c.state == "sent")
        failed = {"state": "failed", "reason": reason, "finished_at_ms": now_ms}
        connection.execute(sa.update(DELIVERIES).where(delivery).values(**failed))


def _keep_wish(connection: sa.Connection, task: Task, result: CallResult, now_ms: int) -> None:
    channel = _SUPPRESSING.get(result.outcome)
    if channel is None:
        return
    if task.kind == "reply" and channel == CHANNEL:
        # Whoever answered an SMS means the channel on which we wrote.
        channel = task.card.get("channel", ALL_CHANNELS)
    add_suppression(connection, Suppression(task.customer_id, channel, f"desk:{result.outcome}", now_ms))
    if result.outcome in _WITHDRAWING:
        spoken = CHANNEL if channel == ALL_CHANNELS else channel
        remember_consents(connection, [ConsentState(task.customer_id, spoken, False, now_ms)])
        properties = {"channel": channel, "purpose": "marketing", "allowed": False, "source": "desk"}
        event = make_event(
            "Consent Withdrawn", task.customer_id, now_ms, properties, key=[task.task_id, task.turn]
        )
        put_events(connection, [event], now_ms)


def _tell(connection: sa.Connection, task: Task, result: CallResult, now_ms: int) -> None:
    name = "Call Completed" if task.kind == "call" else "Reply Handled"
    properties = {
        "outcome": result.outcome,
        "plan_id": task.plan_id,
        "delivery_id": task.task_id if task.kind == "call" else None,
        "channel": CHANNEL if task.kind == "call" else task.card.get("channel"),
        "attempt": task.attempts + 1,
        "seconds": result.seconds,
        "reached": result.outcome not in ("not_reached", "wrong_number"),
    }
    event = make_event(name, task.customer_id, now_ms, properties, key=[task.task_id, task.turn])
    put_events(connection, [event], now_ms)


def _unknown_task(task_id: str) -> BadInput:
    return BadInput(
        "deployment.unknown_task",
        say("There is no task '{task}', or several begin so.", task=task_id[:64]),
        remedy=say("See the tasks with: aimwell desk list"),
        where={"value": task_id[:64]},
    )
