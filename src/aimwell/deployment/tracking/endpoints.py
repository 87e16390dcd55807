"""What the service does for links of messages: clicks, pixels, hidden links, unsubscribing, the preference centre.

Free of any web framework: a request comes in as ``Hit``, an ``Answer`` goes out. Nothing that is asked for with GET or
HEAD changes what a customer receives. A link that we did not sign leads nowhere, and gets the same answer whatever
is wrong with it. The methods block on the store for a short transaction each; they may be called from several threads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import sqlalchemy as sa

from aimwell.core.errors import AimwellError, BadInput
from aimwell.core.text import Language, Text, match_language, say
from aimwell.deployment.composing import choose_language as choose_market_language
from aimwell.deployment.tracking.agents import classify_agent
from aimwell.deployment.tracking.answers import (
    Answer,
    Form,
    answer_page,
    answer_pixel,
    answer_redirect,
    choose_language,
    read_field,
    refuse_link,
    refuse_method,
)
from aimwell.deployment.tracking.centre import Ticket, read_ticket, save, say_channel, show_to, subscribe
from aimwell.deployment.tracking.hits import (
    Delivered,
    Hit,
    digest_visitor,
    find_delivery,
    find_target,
)
from aimwell.deployment.tracking.judging import Kind
from aimwell.deployment.tracking.keys import Keyring, load_keyring
from aimwell.deployment.tracking.pages import (
    Frame,
    Title,
    show_begun,
    show_ended,
    show_forgotten,
    show_preferences,
    show_problem,
    show_question,
)
from aimwell.deployment.tracking.preferences import (
    CENTRE,
    ONE_CLICK,
    UNSUBSCRIBE,
    Act,
    Standing,
    read_standing,
    withdraw,
)
from aimwell.deployment.tracking.recording import Arrival, HitWriter
from aimwell.deployment.tracking.short import find_short, is_short
from aimwell.deployment.tracking.targets import add_parameter, read_target
from aimwell.deployment.tracking.tokens import (
    Click,
    identify_link,
    read_click,
    read_delivery,
    sign_delivery,
)
from aimwell.deployment.unsubscribe import (
    Unsubscribe,
    read_preferences_token,
    read_token,
    sign_preferences_token,
)
from aimwell.engine.erased import LoadErased, ask_workspace, begin_knowing
from aimwell.engine.secret import load_secret
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace

__all__ = ["Answer", "Form", "Hit", "Tracking"]

Read = TypeVar("Read")
_LOG = logging.getLogger(__name__)
_RELOAD = 5.0
"""Seconds between two looks at whether the keys were changed, when a link is not known."""
_MOST_TARGETS = 10_000
_PAGE_METHODS = ("GET", "HEAD")


@dataclass(frozen=True)
class Manner:
    """How the pages speak and what is done with clicks."""

    business: str
    language: Language = "en"
    click_parameter: str = "aw"
    topics: Mapping[str, Text] = field(default_factory=dict)


class Tracking:
    """The endpoints of one workspace. ``load_keys`` reads the ring anew, for when it was changed meanwhile.

    Of people who were erased (``load_erased``) nothing is written down again, whatever link of theirs is opened.
    """

    def __init__(
        self, store: Store, load_keys: Callable[[], Keyring], manner: Manner, load_erased: LoadErased | None
    ) -> None:
        self._store = store
        self._load_erased = load_erased
        self._writer = HitWriter(store)
        self._load_keys = load_keys
        self._keys = load_keys()
        self._loaded = time.monotonic()
        self._manner = manner
        self._targets: dict[str, str] = {}

    @classmethod
    def open(cls, workspace: Workspace) -> Tracking:
        """The endpoints of a workspace, by its settings."""
        secret = load_secret(workspace.path)
        business, tracking = workspace.settings.business, workspace.settings.tracking

        def load() -> Keyring:
            with workspace.store.snapshot() as connection:
                return load_keyring(connection, secret)

        manner = Manner(
            business.name,
            choose_market_language(zone_name=business.zone, currency=business.currency),
            tracking.click_parameter,
            {name: Title.of(en=titles.en, zh=titles.zh) for name, titles in tracking.topics.items()},
        )
        return cls(workspace.store, load, manner, ask_workspace(workspace))

    def handle_click(self, token: str, hit: Hit) -> Answer:
        """GET and HEAD ``/c/{token}``: on to the address that the message had."""
        if hit.method not in _PAGE_METHODS:
            return refuse_method("GET, HEAD")
        try:
            click = None if is_short(token) else self._read(read_click, token)
        except BadInput:
            return self._refuse(hit)
        with self._store.snapshot() as connection:
            click = click or find_short(connection, token, hit.at_ms)
            if click is None:
                return self._refuse(hit)
            target = self._find_target(connection, click.link_id)
            delivery = find_delivery(connection, click)
        if target is None:
            return self._refuse(hit)
        if delivery is not None:
            self._record(delivery, "click", click, hit)
            if self._manner.click_parameter:
                visit = sign_delivery(self._keys, "visit", delivery.delivery_id)
                target = add_parameter(target, self._manner.click_parameter, visit)
        return answer_redirect(target)

    def handle_open(self, token: str, hit: Hit) -> Answer:
        """GET and HEAD ``/o/{token}.gif``."""
        if hit.method not in _PAGE_METHODS:
            return refuse_method("GET, HEAD")
        known = self._take("open", "open", token.removesuffix(".gif"), hit)
        return answer_pixel(hit, 200 if known else 404)

    def handle_honeypot(self, token: str, hit: Hit) -> Answer:
        """GET and HEAD ``/h/{token}``: the link that only machines follow."""
        if hit.method not in _PAGE_METHODS:
            return refuse_method("GET, HEAD")
        if not self._take("trap", "honeypot", token, hit):
            return self._refuse(hit)
        frame = Frame(self._manner.business, self._choose(hit, {}, None, None))
        page = show_problem(frame, say("There is nothing here."), say("You can close this page."))
        return answer_page(hit, frame.language, page)

    def find_visit(self, token: str) -> Delivered | None:
        """The delivery that led to a visit, by the parameter that its click added; None when it is not ours."""
        try:
            named = self._read(lambda keys, text: read_delivery(keys, "visit", text), token)
        except BadInput:
            return None
        with self._store.snapshot() as connection:
            return find_delivery(connection, named)

    def show_unsubscribe(self, token: str, hit: Hit) -> Answer:
        """GET and HEAD ``/unsubscribe/{token}``: asks, and changes nothing."""
        if hit.method not in _PAGE_METHODS:
            return refuse_method("GET, HEAD, POST")
        try:
            who = self._read(read_token, token)
        except BadInput:
            return self._refuse(hit)
        with self._store.snapshot() as connection:
            standing = read_standing(connection, who.customer_id, hit.at_ms, channels=[who.channel])
        return self._show_standing(who, standing, hit, {}, done=False)

    def post_unsubscribe(self, token: str, hit: Hit, form: Form) -> Answer:
        """POST ``/unsubscribe/{token}``: one click (RFC 8058), the page's button, or subscribing again."""
        try:
            who = self._read(read_token, token)
        except BadInput:
            return self._refuse(hit)
        one_click = read_field(form, "List-Unsubscribe") == "One-Click"
        action = "unsubscribe" if one_click else read_field(form, "action")
        if action == "unsubscribe":
            act_source = ONE_CLICK if one_click else UNSUBSCRIBE
            with self._begin(who) as connection:
                if connection is None:
                    return self._tell_forgotten(who, hit, form, done=True)
                withdraw(connection, self._act(connection, who, act_source, hit), [who.channel])
                standing = read_standing(connection, who.customer_id, hit.at_ms, channels=[who.channel])
            return self._show_standing(who, standing, hit, form, done=True)
        if action == "subscribe":
            return self._subscribe(who, hit, form)
        return self._misunderstand(hit, form, who)

    def show_preferences(self, token: str, hit: Hit) -> Answer:
        """GET and HEAD ``/preferences/{token}``: shows what holds, and changes nothing."""
        if hit.method not in _PAGE_METHODS:
            return refuse_method("GET, HEAD, POST")
        try:
            who = self._read(read_preferences_token, token)
        except BadInput:
            return self._refuse(hit)
        with self._store.snapshot() as connection:
            standing = self._read_standing(connection, who, hit)
        return self._show_centre(who, standing, hit, {}, None)

    def post_preferences(self, token: str, hit: Hit, form: Form) -> Answer:
        """POST ``/preferences/{token}``: saves what was changed, or ends all marketing."""
        try:
            who = self._read(read_preferences_token, token)
        except BadInput:
            return self._refuse(hit)
        action = read_field(form, "action")
        if action not in ("save", "stop"):
            return self._misunderstand(hit, form, who)
        try:
            ticket = None if action == "stop" else self._read_ticket(who, hit, form)
        except BadInput as error:
            return self._explain(error, hit, form, who)
        with self._begin(who) as connection:
            if connection is None:
                return self._tell_forgotten(who, hit, form, done=ticket is None)
            act = self._act(connection, who, CENTRE, hit)
            if ticket is None:
                ways = self._read_standing(connection, who, hit).channels
                done = [say_channel(name, on=False) for name in withdraw(connection, act, ways)]
            else:
                done = save(
                    connection, act, ticket, form, business=self._manner.business, topics=self._manner.topics
                )
            standing = self._read_standing(connection, who, hit)
        return self._show_centre(who, standing, hit, form, done)

    def _subscribe(self, who: Unsubscribe, hit: Hit, form: Form) -> Answer:
        try:
            ticket = self._read_ticket(who, hit, form)
        except BadInput as error:
            return self._explain(error, hit, form, who)
        with self._begin(who) as connection:
            if connection is None:
                return self._tell_forgotten(who, hit, form, done=False)
            act = self._act(connection, who, UNSUBSCRIBE, hit)
            subscribe(connection, act, ticket, [who.channel], self._manner.business)
            standing = read_standing(connection, who.customer_id, hit.at_ms, channels=[who.channel])
        if not standing.channels.get(who.channel, False):
            # Refused again since the page was shown, or closed by the business: the page says how it stands.
            return self._show_standing(who, standing, hit, form, done=False, status=409)
        frame = self._frame(hit, form, who, standing)
        page = show_begun(frame, who.channel, preferences=self._link_preferences(who))
        return answer_page(hit, frame.language, page)

    @contextmanager
    def _begin(self, who: Unsubscribe) -> Iterator[sa.Connection | None]:
        """A transaction for what the recipient wants; None for an erased one, of whom nothing may be written down."""
        with begin_knowing(self._store.begin, self._load_erased) as (connection, erased):
            yield None if erased.tell(who.customer_id, "record") else connection

    def _tell_forgotten(self, who: Unsubscribe, hit: Hit, form: Form, *, done: bool) -> Answer:
        frame = self._frame(hit, form, who, None)
        return answer_page(hit, frame.language, show_forgotten(frame, done=done), 200 if done else 409)

    def _show_standing(
        self, who: Unsubscribe, standing: Standing, hit: Hit, form: Form, *, done: bool, status: int = 200
    ) -> Answer:
        frame = self._frame(hit, form, who, standing)
        link = self._link_preferences(who)
        if standing.channels.get(who.channel, False):
            page = show_question(frame, who.channel, preferences=link)
        else:
            ticket = show_to(who.customer_id, standing, frame.language, hit.at_ms).seal(self._keys)
            blocked = who.channel in standing.blocked
            page = show_ended(frame, who.channel, ticket=ticket, preferences=link, done=done, blocked=blocked)
        return answer_page(hit, frame.language, page, status)

    def _show_centre(
        self, who: Unsubscribe, standing: Standing, hit: Hit, form: Form, done: list[Text] | None
    ) -> Answer:
        frame = self._frame(hit, form, who, standing)
        # Until the customer chooses, messages come in the language of the one that led here, whatever the page is in.
        standing = replace(standing, language=standing.language or match_language(who.language))
        ticket = show_to(who.customer_id, standing, frame.language, hit.at_ms).seal(self._keys)
        page = show_preferences(frame, standing, self._manner.topics, ticket=ticket, done=done)
        return answer_page(hit, frame.language, page)

    def _find_target(self, connection: sa.Connection, link_id: str) -> str | None:
        """Where a link leads; it never leads elsewhere, and so it is read once."""
        target = self._targets.get(link_id) or find_target(connection, link_id)
        # The store's word alone is not enough: the link's id is the digest of this very address.
        if target is None or identify_link(target) != link_id or read_target(target) != target:
            return None
        if len(self._targets) >= _MOST_TARGETS:
            self._targets.clear()
        self._targets[link_id] = target
        return target

    def _take(self, purpose: Any, kind: Kind, token: str, hit: Hit) -> bool:
        """Record a hit of a token that names only a delivery; whether the token is ours."""
        try:
            named = self._read(lambda keys, text: read_delivery(keys, purpose, text), token)
        except BadInput:
            return False
        with self._store.snapshot() as connection:
            delivery = find_delivery(connection, named)
        if delivery is not None:
            self._record(delivery, kind, named, hit)
        return True

    def _record(self, delivery: Delivered, kind: Kind, click: Click, hit: Hit) -> None:
        try:
            self._writer.keep(Arrival(delivery, kind, click, hit))
        except (AimwellError, sa.exc.SQLAlchemyError):
            # A store that cannot be written keeps nobody from where they want to go.
            _LOG.exception("a hit of kind %s could not be kept", kind)

    def _read(self, read: Callable[[Keyring, str], Read], token: str) -> Read:
        try:
            return read(self._keys, token)
        except BadInput:
            if time.monotonic() - self._loaded < _RELOAD:
                raise
            self._loaded = time.monotonic()
            self._keys = self._load_keys()
            return read(self._keys, token)

    def _read_ticket(self, who: Unsubscribe, hit: Hit, form: Form) -> Ticket:
        text = read_field(form, "ticket")
        return self._read(
            lambda keys, given: read_ticket(keys, given, customer_id=who.customer_id, now_ms=hit.at_ms), text
        )

    def _read_standing(self, connection: sa.Connection, who: Unsubscribe, hit: Hit) -> Standing:
        channels = [who.channel] if who.channel else []
        return read_standing(connection, who.customer_id, hit.at_ms, channels=channels)

    def _act(self, connection: sa.Connection, who: Unsubscribe, source: str, hit: Hit) -> Act:
        proof = {
            "delivery": who.delivery_id,
            "agent": classify_agent(hit.agent, hit.headers),
            "visitor": digest_visitor(connection, hit),
        }
        return Act(who.customer_id, source, hit.at_ms, proof)

    def _link_preferences(self, who: Unsubscribe) -> str:
        # Relative: it leads to where this page was reached.
        token = sign_preferences_token(
            self._keys, customer_id=who.customer_id, channel=who.channel, language=who.language
        )
        return f"../preferences/{token}"

    def _frame(self, hit: Hit, form: Form, who: Unsubscribe | None, standing: Standing | None) -> Frame:
        return Frame(self._manner.business, self._choose(hit, form, who, standing))

    def _choose(self, hit: Hit, form: Form, who: Unsubscribe | None, standing: Standing | None) -> Language:
        wishes = ((standing and standing.language) or "", who.language if who else "")
        return choose_language(hit, form, *wishes, default=self._manner.language)

    def _refuse(self, hit: Hit) -> Answer:
        return refuse_link(hit, self._manner.business, self._choose(hit, {}, None, None))

    def _misunderstand(self, hit: Hit, form: Form, who: Unsubscribe) -> Answer:
        frame = self._frame(hit, form, who, None)
        page = show_problem(frame, say("Nothing was changed."), say("Load it again, then choose once more."))
        return answer_page(hit, frame.language, page, 400)

    def _explain(self, error: BadInput, hit: Hit, form: Form, who: Unsubscribe) -> Answer:
        frame = self._frame(hit, form, who, None)
        page = show_problem(frame, error.message, error.remedy or say("Nothing was changed."))
        return answer_page(hit, frame.language, page, 400)
