"""What is served where: each path with its methods, what they do, and their part of /openapi.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aimwell.core.text import Text, say
from aimwell.service.decide import Decisions
from aimwell.service.exchange import Operation, Quick
from aimwell.service.health import Health
from aimwell.service.hooks import Hooks
from aimwell.service.inbox import Inbox
from aimwell.service.intake import BATCH_PATHS, KINDS, Intake, answer_preflight
from aimwell.service.openapi import CUSTOMER, describe
from aimwell.service.pages import Change, Pages, Show

Routes = Mapping[str, Mapping[str, Operation]]
_KIND_TITLES: Mapping[str, Text] = {
    "track": say("Somebody did something"),
    "identify": say("Who somebody is, and what is known of him"),
    "page": say("Somebody looked at a page"),
    "screen": say("Somebody looked at a screen of the app"),
    "group": say("Somebody belongs to a group"),
    "alias": say("Two identifiers are one person"),
}
_PREFLIGHT = say("A browser asks whether it may send this")


@dataclass(frozen=True)
class Rooms:
    """Everything that answers."""

    intake: Intake
    decisions: Decisions
    inbox: Inbox
    pages: Pages
    hooks: Hooks
    health: Health


def list_routes(rooms: Rooms) -> Routes:
    """All routes, those first that are asked most."""
    return {
        **dict(_list_decisions(rooms.decisions)),
        **dict(_list_intake(rooms.intake)),
        **dict(_list_inbox(rooms.inbox)),
        **dict(_list_pages(rooms.pages)),
        **dict(_list_hooks(rooms.hooks)),
        **dict(_list_health(rooms.health)),
    }


def _list_decisions(decisions: Decisions) -> Iterator[tuple[str, Mapping[str, Operation]]]:
    decide = describe(
        say("The best action for a customer who is here now"),
        answers={200: "Decision"},
        body="DecideForm",
        scope="decide",
    )
    settle = describe(
        say("Whether the action of a decision was shown"),
        answers={200: "Settlement", 207: "Settlement"},
        body="ToldForm|OutcomesForm",
        scope="decide",
    )
    yield (
        "/v1/decide",
        {"POST": Operation(decisions.decide, decide, Quick(decisions.begin, decisions.answer))},
    )
    yield "/v1/outcome", {"POST": Operation(decisions.settle, settle)}


def _list_intake(intake: Intake) -> Iterator[tuple[str, Mapping[str, Operation]]]:
    preflight = Operation(answer_preflight, describe(_PREFLIGHT, answers={204: ""}))
    answers = {200: "Taken", 207: "Taken"}
    many = describe(say("Many messages at once"), answers=answers, body="Batch", scope="write")
    for path in BATCH_PATHS:
        yield path, {"POST": Operation(intake.take_batch, many), "OPTIONS": preflight}
    for kind, paths in KINDS.items():
        one = describe(
            _KIND_TITLES[kind], answers=answers, body="Track" if kind == "track" else "Message", scope="write"
        )
        for path in paths:
            yield path, {"POST": Operation(intake.take_kind(kind), one), "OPTIONS": preflight}


def _list_inbox(inbox: Inbox) -> Iterator[tuple[str, Mapping[str, Operation]]]:
    preflight = Operation(inbox.answer_preflight, describe(_PREFLIGHT, answers={204: ""}))
    token = describe(
        say("A token with which one customer reaches the inbox"),
        answers={200: "CustomerToken"},
        body="TokenWantedForm",
        scope="read",
    )
    show = describe(say("The customer's messages"), answers={200: "InboxPage"}, security=CUSTOMER)
    mark = describe(
        say("The customer read or dismissed a message"),
        answers={200: "State"},
        body="MarkedForm",
        security=CUSTOMER,
    )
    yield "/v1/inbox/token", {"POST": Operation(inbox.give_token, token)}
    yield "/v1/inbox", {"GET": Operation(inbox.show, show), "OPTIONS": preflight}
    yield "/v1/inbox/{delivery_id}", {"POST": Operation(inbox.mark, mark), "OPTIONS": preflight}


def _list_pages(pages: Pages) -> Iterator[tuple[str, Mapping[str, Operation]]]:
    does = pages.tracking

    def show(title: Text, act: Show, produces: str = "text/html", status: int = 200) -> Operation:
        told = describe(title, answers={status: "Text", 404: "Text"}, produces=produces)
        return Operation(pages.show(act), told)

    def change(title: Text, act: Change) -> Operation:
        answers = {200: "Text", 400: "Text", 404: "Text", 409: "Text"}
        form = "application/x-www-form-urlencoded"
        told = describe(title, answers=answers, body="Anything", media=form, produces="text/html")
        return Operation(pages.change(act), told)

    yield (
        "/c/{token}",
        {"GET": show(say("A recipient follows a link of a message"), does.handle_click, status=302)},
    )
    yield "/o/{token}", {"GET": show(say("A message was shown"), does.handle_open, "image/gif")}
    hidden = say("A hidden link that only machines follow")
    yield "/h/{token}", {"GET": show(hidden, does.handle_honeypot)}
    yield (
        "/unsubscribe/{token}",
        {
            "GET": show(say("The page on which a recipient unsubscribes"), does.show_unsubscribe),
            "POST": change(say("A recipient unsubscribes, or subscribes again"), does.post_unsubscribe),
        },
    )
    yield (
        "/preferences/{token}",
        {
            "GET": show(say("The page of a recipient's choices"), does.show_preferences),
            "POST": change(say("A recipient changes the choices"), does.post_preferences),
        },
    )


def _list_hooks(hooks: Hooks) -> Iterator[tuple[str, Mapping[str, Operation]]]:
    told = describe(say("A provider tells what became of messages"), answers={200: "Heard"}, body="Anything")
    yield "/hooks/{provider}", {"POST": Operation(hooks.take, told)}


def _list_health(health: Health) -> Iterator[tuple[str, Mapping[str, Operation]]]:
    alive = describe(say("The process answers"), answers={200: "Status"})
    ready = describe(say("The store answers"), answers={200: "Status"})
    metrics = describe(
        say("Figures for Prometheus"), answers={200: "Text"}, scope="read", produces="text/plain"
    )
    described = describe(say("What is served"), answers={200: "Anything"})
    yield "/healthz", {"GET": Operation(health.tell_alive, alive)}
    yield "/readyz", {"GET": Operation(health.tell_ready, ready)}
    yield "/metrics", {"GET": Operation(health.show_metrics, metrics)}
    yield "/openapi.json", {"GET": Operation(health.show_description, described)}
