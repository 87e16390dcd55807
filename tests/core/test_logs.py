"""Logs hold what happened, and nothing of a person, however it is handed to them."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.core.logs import HIDDEN, configure_logs, get_logger, hide_words
from aimwell.core.text import say

PEOPLE = (
    "alice.wang@example.com",
    "王小明",
    "小红@例子.中国",
    "13800138000",
    "+8613912345678",
    "138 0013 8000",
    "138-0013-8000",
    "010-62345678",
    "+49 30 1234567",
    "(415) 555-0132",
    "11010519491231002X",
    "朝阳区建国路88号",
    "eyJhbGciOiJIUzI1NiJ9.eyJjdXN0b21lciI6ImMxIn0.abcDEF123-_x",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "aw_9Xk2mPq7RtYv4ZbNc8LdWs3HfGj",
    "hunter2secret",
)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers, root.level)
    target = io.StringIO()
    configure_logs(format="json", level="debug", stream=target)
    here = threading.get_ident()
    # What a thread of an earlier test, or the garbage collector, still has to say is not what is read here.
    root.handlers[0].addFilter(
        lambda record: record.thread == here and record.name.startswith(("aimwell.", "library", "some."))
    )
    yield target
    root.handlers, root.level = before
    structlog.reset_defaults()


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_with_its_values(stream: io.StringIO) -> None:
    get_logger("worker").info(
        "task.done", task="move", rows=3, seconds=0.25, run_id="run_2026_ab12", late=True
    )
    (line,) = read(stream)
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "event": "task.done",
        "logger": "aimwell.worker",
        "level": "info",
        "task": "move",
        "rows": 3,
        "seconds": 0.25,
        "run_id": "run_2026_ab12",
        "late": True,
    }


@pytest.mark.parametrize("person", PEOPLE)
def test_nothing_of_a_person_under_a_name_that_says_so(stream: io.StringIO, person: str) -> None:
    log = get_logger("test")
    log.info("one", email=person, phone=person, name=person, address=person, token=person, password=person)
    log.info("two", traits={"Email": person, "nested": [{"first-name": person, "userId": person}]})
    log.info("three", batch=[{"properties": {"x": person}}, {"手机号": person}])
    log.bind(recipient=person).warning("four")
    with structlog.contextvars.bound_contextvars(authorization=person):
        log.info("five")
    assert len(read(stream)) == 5
    assert person not in stream.getvalue()


# A bare name or street cannot be told from other words: they must not be given to a log, and this is why messages of
# exceptions are not told at all.
RECOGNISED = tuple(one for one in PEOPLE if one not in ("王小明", "朝阳区建国路88号", "hunter2secret"))


@pytest.mark.parametrize("person", RECOGNISED)
def test_what_can_be_recognised_goes_from_any_text(stream: io.StringIO, person: str) -> None:
    log = get_logger("test")
    log.info("one", problem=f"could not send to {person}, later")
    log.info(f"an event with {person} in it")
    log.info("two", **{f"key {person}": 1}, inside={person: [person, (person,)]})
    logging.getLogger("some.library").warning("GET /u/%s?c=%s 404", person, person)
    logging.getLogger("some.library").warning("{'to': '%s'}", person)
    assert len(read(stream)) == 5
    for part in (person, person.replace(" ", ""), person.split(".")[0]):
        assert part not in stream.getvalue()


@pytest.mark.parametrize("person", PEOPLE)
def test_of_an_exception_only_its_kind_and_place_are_told(stream: io.StringIO, person: str) -> None:
    log = get_logger("test")
    try:
        try:
            raise KeyError(person)
        except KeyError as error:
            raise BadInput(
                "data.x", say("No such file: {file}", file=person), where={"value": person}
            ) from error
    except BadInput as error:
        log.error("one.failed", error=error)
        log.exception("two.failed")
        logging.getLogger("library").exception("it failed")
        log.error("three.failed", exc_info=error, errors=[error])
    text = stream.getvalue()
    lines = read(stream)
    assert person not in text
    assert lines[0]["error"]["type"] == "BadInput"
    assert lines[0]["error"]["code"] == "data.x"
    assert lines[0]["error"]["cause"] == "KeyError"
    assert "test_logs.py" in lines[0]["error"]["frames"][-1]
    assert lines[1]["error"]["type"] == "BadInput"
    assert "BadInput" in lines[2]["event"]


def test_passwords_in_addresses_and_queries_go(stream: io.StringIO) -> None:
    log = get_logger("test")
    log.info("one", target="postgresql://aimwell:hunter2@db/x", link="https://h/c/abc?token=xyz&email=a")
    log.info("two", problem="password=hunter2; api_key: abcdef", header="Authorization: Bearer abc.def")
    text = stream.getvalue()
    for secret in ("hunter2", "xyz", "abcdef", "abc.def"):
        assert secret not in text


@pytest.mark.parametrize(
    "kept",
    [
        "1763880000123",
        "2026-11-23T06:30:00+00:00",
        "run_2026112306",
        "5f2b6c1e9d3a47f08b6c5e2f1a3d4c7b5f2b6c1e9d3a47f08b6c5e2f1a3d4c7b",
        "journey:welcome",
        "12,345 rows in 3.2 s",
        "127.0.0.1:8080",
        "engine.store_unreachable",
        "0011_service",
    ],
)
def test_what_is_needed_to_find_a_fault_stays(kept: str) -> None:
    assert hide_words(kept) == kept


@given(st.emails())
def test_no_mail_address_passes(address: str) -> None:
    assert address not in hide_words(f"to <{address}> now")


@given(
    st.integers(13_000_000_000, 19_999_999_999), st.sampled_from(["{}", "+86{}", "86 {}", "tel:{}", "n={}."])
)
def test_no_mobile_number_passes(number: int, form: str) -> None:
    assert str(number) not in hide_words(form.format(number))


def test_numbers_are_looked_at_too(stream: io.StringIO) -> None:
    get_logger("test").info("one", found=13800138000, at_ms=1763880000123, bytes=45_000)
    (line,) = read(stream)
    assert (line["found"], line["at_ms"], line["bytes"]) == (HIDDEN, 1763880000123, 45_000)


def test_on_a_console_it_reads_as_a_line() -> None:
    root = logging.getLogger()
    before = (root.handlers, root.level)
    target = io.StringIO()
    try:
        configure_logs(format="console", stream=target)
        get_logger("worker").info("task.done", rows=3, email="a@b.cn")
        get_logger("worker").debug("not.shown")
    finally:
        root.handlers, root.level = before
        structlog.reset_defaults()
    assert "task.done" in target.getvalue()
    assert "rows=3" in target.getvalue()
    assert "a@b.cn" not in target.getvalue()
    assert "not.shown" not in target.getvalue()
