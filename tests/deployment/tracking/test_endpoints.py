"""What is answered to links: clicks go where we signed, forms do what they say, and abuse leads nowhere."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimwell.deployment.tracking.endpoints import Answer, Form, Hit, Manner, Tracking
from aimwell.deployment.tracking.hits import KeptHit, read_hits, remember_links
from aimwell.deployment.tracking.keys import Keyring, load_keyring, rotate_keys
from aimwell.deployment.tracking.preferences import OwnCap, read_changes, read_own_caps, read_standing
from aimwell.deployment.tracking.tokens import identify_link, sign_click, sign_delivery
from aimwell.deployment.unsubscribe import sign_preferences_token, sign_token
from aimwell.engine.permissions import Suppression, add_suppression, list_suppressions
from aimwell.engine.store import Store
from aimwell.engine.tracking_tables import TRACKED_LINKS
from tests.deployment.scene import open_store
from tests.deployment.tracking.scene import (
    AT,
    HOUR,
    RING,
    SECRET,
    TOPICS,
    ask,
    identify,
    open_tracking,
    permit,
    send,
)

TARGET = "https://shop.example/p?utm_source=aimwell&utm_campaign=a%20b#part"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def learn(store: Store, *targets: str) -> None:
    with store.begin() as connection:
        remember_links(connection, {identify_link(one): one for one in targets}, AT)


def click(store: Store, target: str = TARGET, place: int = 0, customer: str = "c1") -> str:
    learn(store, target)
    return sign_click(RING, identify(customer), target, place)


def kept(store: Store) -> list[KeptHit]:
    with store.begin() as connection:
        return read_hits(connection)


def stand(store: Store, customer: str = "c1") -> dict[str, bool]:
    with store.begin() as connection:
        return dict(read_standing(connection, customer, AT + HOUR).channels)


def find_ticket(answer: Answer) -> str:
    found = re.search(r'name="ticket" value="([^"]+)"', answer.body.decode())
    assert found is not None
    return found[1]


def find_header(answer: Answer, name: str) -> str:
    return dict(answer.headers)[name]


# --- clicks


def test_a_click_leads_where_the_message_led_and_joins_the_visit(store: Store) -> None:
    delivery = send(store)
    tracking = open_tracking(store)
    answer = tracking.handle_click(click(store), ask())
    assert (answer.status, answer.body) == (302, b"")
    location = urlsplit(find_header(answer, "Location"))
    assert location.fragment == "part" and location.query.startswith(
        "utm_source=aimwell&utm_campaign=a%20b&aw="
    )
    visit = tracking.find_visit(parse_qs(location.query)["aw"][0])
    assert visit is not None and visit.delivery_id == delivery
    assert [(hit.kind, hit.customer_id, hit.machine) for hit in kept(store)] == [("click", "c1", False)]
    assert find_header(answer, "Cache-Control") == "no-store"
    assert find_header(answer, "Referrer-Policy") == "no-referrer"


def test_the_parameter_is_left_out_where_it_is_not_wanted(store: Store) -> None:
    send(store)
    answer = open_tracking(store, click_parameter="").handle_click(click(store), ask())
    assert find_header(answer, "Location") == TARGET


def test_a_click_of_a_delivery_that_the_ledger_lost_still_leads_on(store: Store) -> None:
    answer = open_tracking(store).handle_click(click(store), ask())
    assert (answer.status, find_header(answer, "Location")) == (302, TARGET)
    assert kept(store) == []


def test_machines_are_sent_on_but_do_not_count(store: Store) -> None:
    send(store)
    token = click(store)
    answers = [
        open_tracking(store).handle_click(token, ask(AT + n * HOUR, method, agent=agent))
        for n, (method, agent) in enumerate(
            [("HEAD", "Mozilla/5.0 (X11; Linux)"), ("GET", "curl/8"), ("GET", "")]
        )
    ]
    assert {answer.status for answer in answers} == {302}
    assert [hit.reason for hit in kept(store)] == ["head", "program", "none"]


def test_a_store_that_cannot_be_written_keeps_nobody_back(store: Store) -> None:
    send(store)
    token = click(store)
    with store.begin() as connection:
        connection.execute(sa.text("DROP TABLE tracking_hits"))
    answer = open_tracking(store).handle_click(token, ask())
    assert answer.status == 302 and find_header(answer, "Location").startswith("https://shop.example/p")


@pytest.mark.parametrize(
    "evil",
    [
        "https://evil.example/",
        "javascript:alert(1)",
        "https://shop.example/\r\nSet-Cookie: a=b",
        "https://shop.example\\@evil.example/",
        "https://shop.example@evil.example/",
        "//evil.example/",
        "data:text/html,<script>alert(1)</script>",
        "https://shop.example/客",
        "",
    ],
)
def test_no_open_redirect_even_when_the_stores_row_was_changed(store: Store, evil: str) -> None:
    send(store)
    token = click(store)
    with store.begin() as connection:
        connection.execute(sa.update(TRACKED_LINKS).values(target=evil))
    answer = open_tracking(store).handle_click(token, ask())
    assert answer.status == 404 and "Location" not in dict(answer.headers)
    assert kept(store) == []
    # Nor when somebody managed to have such an address signed.
    with store.begin() as connection:
        connection.execute(sa.update(TRACKED_LINKS).values(target=evil, link_id=identify_link(evil)))
    if evil != "https://evil.example/":
        answer = open_tracking(store).handle_click(sign_click(RING, identify(), evil, 0), ask())
        assert answer.status == 404 and "Location" not in dict(answer.headers)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    token=st.one_of(
        st.text(max_size=200),
        st.text("ABCabc012-_", min_size=52, max_size=52),
        st.binary(max_size=100).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
        st.sampled_from(
            ["../../etc/passwd", "https://evil.example", "A" * 1_000_000, "%0d%0aLocation:%20x", "\x00"]
        ),
    )
)
def test_forged_tokens_lead_nowhere_and_change_nothing(store: Store, token: str) -> None:
    tracking = open_tracking(store)
    permit(store)
    answers = [
        tracking.handle_click(token, ask()),
        tracking.handle_open(token, ask()),
        tracking.handle_honeypot(token, ask()),
        tracking.show_unsubscribe(token, ask()),
        tracking.show_preferences(token, ask()),
        tracking.post_unsubscribe(token, ask(method="POST"), ONE_CLICK),
        tracking.post_preferences(token, ask(method="POST"), {"action": "stop"}),
    ]
    assert {answer.status for answer in answers} == {404}
    assert not any("Location" in dict(answer.headers) for answer in answers)
    assert tracking.find_visit(token) is None
    assert kept(store) == [] and stand(store) == {"email": True}


def test_the_token_of_another_purpose_leads_nowhere(store: Store) -> None:
    send(store)
    permit(store)
    tracking = open_tracking(store)
    one = click(store)
    unsubscribe = sign_token(RING, customer_id="c1", channel="email")
    opened = sign_delivery(RING, "open", identify())
    assert tracking.handle_click(opened, ask()).status == 404
    assert tracking.handle_open(one, ask()).status == 404
    assert tracking.handle_honeypot(opened, ask()).status == 404
    assert tracking.show_preferences(unsubscribe, ask()).status == 404
    assert tracking.post_preferences(unsubscribe, ask(method="POST"), {"action": "stop"}).status == 404
    assert tracking.post_unsubscribe(one, ask(method="POST"), ONE_CLICK).status == 404
    assert tracking.find_visit(opened) is None
    assert kept(store) == [] and stand(store)["email"]


def test_another_workspaces_links_lead_nowhere(store: Store) -> None:
    send(store)
    permit(store)
    learn(store, TARGET)
    other = Keyring.of(b"another workspace's secret")
    tracking = open_tracking(store)
    assert tracking.handle_click(sign_click(other, identify(), TARGET, 0), ask()).status == 404
    token = sign_token(other, customer_id="c1", channel="email")
    assert tracking.post_unsubscribe(token, ask(method="POST"), ONE_CLICK).status == 404
    assert stand(store)["email"]


def test_methods_that_links_do_not_have_are_refused(store: Store) -> None:
    tracking = open_tracking(store)
    token = click(store)
    for handle in (tracking.handle_click, tracking.handle_open, tracking.handle_honeypot):
        answer = handle(token, ask(method="POST"))
        assert (answer.status, find_header(answer, "Allow")) == (405, "GET, HEAD")
    assert tracking.show_unsubscribe(token, ask(method="PUT")).status == 405


def test_keys_that_another_process_changed_are_learned(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Keyring:
        with store.begin() as connection:
            return load_keyring(connection, SECRET)

    tracking = Tracking(store, load, Manner("Shop"), None)
    with store.begin() as connection:
        rotate_keys(connection, now_ms=AT * 2, keep_days=60)
    learn(store, TARGET)
    fresh = sign_click(load(), identify(), TARGET, 0)
    assert tracking.handle_click(fresh, ask()).status == 404  # it looked a moment ago
    monkeypatch.setattr("aimwell.deployment.tracking.endpoints._RELOAD", 0.0)
    assert tracking.handle_click(fresh, ask()).status == 302
    assert tracking.handle_click(click(store), ask()).status == 302


# --- opens and the hidden link


def test_the_pixel_is_a_picture_and_an_open_is_kept(store: Store) -> None:
    send(store)
    token = sign_delivery(RING, "open", identify())
    answer = open_tracking(store).handle_open(f"{token}.gif", ask())
    assert (answer.status, find_header(answer, "Content-Type"), answer.body[:6]) == (
        200,
        "image/gif",
        b"GIF89a",
    )
    assert open_tracking(store).handle_open(token, ask(AT + 1, "HEAD")).body == b""
    assert [(hit.kind, hit.reason) for hit in kept(store)] == [("open", None), ("open", "head")]


def test_who_follows_the_hidden_link_clicked_as_a_machine(store: Store) -> None:
    send(store)
    tracking = open_tracking(store)
    tracking.handle_click(click(store), ask(AT))
    answer = tracking.handle_honeypot(sign_delivery(RING, "trap", identify()), ask(AT + 20_000))
    assert answer.status == 200 and "Location" not in dict(answer.headers)
    assert {(hit.kind, hit.machine, hit.reason) for hit in kept(store)} == {
        ("click", True, "honeypot"),
        ("honeypot", True, "honeypot"),
    }


# --- unsubscribing


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "query", [{}, ONE_CLICK, {"action": "unsubscribe"}, {"action": "stop", "List-Unsubscribe": "One-Click"}]
)
def test_looking_changes_nothing(store: Store, method: str, query: dict[str, str]) -> None:
    permit(store, "c1", "email", "sms")
    tracking = open_tracking(store)
    for _ in range(3):
        hit = ask(method=method, query=query)
        assert (
            tracking.show_unsubscribe(sign_token(RING, customer_id="c1", channel="email"), hit).status == 200
        )
        assert tracking.show_preferences(sign_preferences_token(RING, customer_id="c1"), hit).status == 200
    with store.begin() as connection:
        assert read_changes(connection) == [] and list_suppressions(connection) == []
    assert stand(store) == {"email": True, "sms": True}


@pytest.mark.parametrize("form", [ONE_CLICK, {"action": "unsubscribe"}, {"List-Unsubscribe": ["One-Click"]}])
def test_one_click_ends_that_channel_at_once_and_stays_ended(store: Store, form: dict[str, object]) -> None:
    permit(store, "c1", "email", "sms")
    permit(store, "c2", "email")
    tracking = open_tracking(store)
    token = sign_token(RING, customer_id="c1", channel="email", delivery_id=identify())
    for later in range(3):
        answer = tracking.post_unsubscribe(token, ask(AT + later, "POST"), form)  # type: ignore[arg-type]
        assert answer.status == 200 and b"You are unsubscribed" in answer.body
    assert stand(store) == {"email": False, "sms": True} and stand(store, "c2") == {"email": True}
    with store.begin() as connection:
        changes = read_changes(connection)
    assert [(change.channel, change.allowed, change.at_ms) for change in changes] == [("email", False, AT)]
    assert changes[0].proof["delivery"] == identify()[:24]
    assert "203.0.113" not in str(changes[0])


def test_a_post_that_says_nothing_changes_nothing(store: Store) -> None:
    permit(store)
    tracking = open_tracking(store)
    token = sign_token(RING, customer_id="c1", channel="email")
    forms: list[Form] = [
        {},
        {"List-Unsubscribe": "one-click"},
        {"action": "delete"},
        {"action": "subscribe"},
        {"action": []},
    ]
    for form in forms:
        assert tracking.post_unsubscribe(token, ask(method="POST"), form).status == 400
    central = sign_preferences_token(RING, customer_id="c1")
    for form in ({}, {"action": "save"}, {"action": "save", "ticket": token}, {"action": "x"}):
        assert tracking.post_preferences(central, ask(method="POST"), form).status == 400
    assert stand(store) == {"email": True}


def test_undoing_needs_the_page_and_keeps_the_proof(store: Store) -> None:
    permit(store)
    tracking = open_tracking(store)
    token = sign_token(RING, customer_id="c1", channel="email", language="zh")
    ended = tracking.post_unsubscribe(token, ask(AT, "POST"), ONE_CLICK)
    ticket = find_ticket(ended)
    begun = tracking.post_unsubscribe(token, ask(AT + 9, "POST"), {"action": "subscribe", "ticket": ticket})
    assert begun.status == 200 and "您已重新订阅" in begun.body.decode()
    assert stand(store) == {"email": True}
    with store.begin() as connection:
        given = read_changes(connection)[-1]
        assert list_suppressions(connection) == []
    assert (given.allowed, given.at_ms, given.source) == (True, AT + 9, "unsubscribe_page")
    assert given.proof["text"] == "我同意Shop & <Co>通过邮件向我发送营销信息，并可随时取消。"
    assert html.escape(given.proof["text"]) in ended.body.decode()
    assert (given.proof["shown_at_ms"], given.proof["language"]) == (AT, "zh")
    # The same form again after another withdrawal: an old page is no consent.
    tracking.post_unsubscribe(token, ask(AT + 20, "POST"), ONE_CLICK)
    again = tracking.post_unsubscribe(token, ask(AT + 30, "POST"), {"action": "subscribe", "ticket": ticket})
    assert again.status == 409 and stand(store) == {"email": False}


def test_a_ticket_is_one_customers_and_of_one_day(store: Store) -> None:
    tracking = open_tracking(store)
    mine, yours = (sign_token(RING, customer_id=name, channel="email") for name in ("c1", "c2"))
    permit(store, "c1")
    permit(store, "c2")
    ticket = find_ticket(tracking.post_unsubscribe(mine, ask(AT, "POST"), ONE_CLICK))
    tracking.post_unsubscribe(yours, ask(AT, "POST"), ONE_CLICK)
    form = {"action": "subscribe", "ticket": ticket}
    assert tracking.post_unsubscribe(yours, ask(AT + 1, "POST"), form).status == 400
    late = tracking.post_unsubscribe(mine, ask(AT + 25 * HOUR, "POST"), form)
    assert late.status == 400 and b"open for too long" in late.body
    assert stand(store) == stand(store, "c2") == {"email": False}


def test_what_the_business_closed_offers_no_undo(store: Store) -> None:
    with store.begin() as connection:
        add_suppression(connection, Suppression("c1", "email", "cli", AT))
    token = sign_token(RING, customer_id="c1", channel="email")
    answer = open_tracking(store).show_unsubscribe(token, ask())
    assert b'value="subscribe"' not in answer.body and b"You are unsubscribed" in answer.body


# --- the preference centre


def save(
    store: Store, shown: Answer, at_ms: int = AT + 1, customer: str = "c1", **form: str | list[str]
) -> Answer:
    token = sign_preferences_token(RING, customer_id=customer)
    fields = {"action": "save", "ticket": find_ticket(shown), **form}
    return open_tracking(store, topics=TOPICS).post_preferences(token, ask(at_ms, "POST"), fields)


def show(store: Store, at_ms: int = AT, customer: str = "c1", channel: str = "") -> Answer:
    token = sign_preferences_token(RING, customer_id=customer, channel=channel)
    return open_tracking(store, topics=TOPICS).show_preferences(token, ask(at_ms))


def test_saving_brings_about_what_differs(store: Store) -> None:
    permit(store, "c1", "email", "sms")
    answer = save(
        store,
        show(store, channel="call"),
        channel=["email", "call"],
        topic=["email:news", "sms:offers", "sms:news"],
        frequency="2/30",
        language="zh",
    )
    assert answer.status == 200
    assert stand(store) == {"email": True, "sms": False, "call": True}
    with store.begin() as connection:
        standing = read_standing(connection, "c1", AT + HOUR)
        assert read_own_caps(connection, ["c1"]) == {"c1": OwnCap(2, 30)}
        done = [(change.kind, change.channel, change.allowed) for change in read_changes(connection)]
    assert standing.refused_topics == {("email", "offers")} and standing.language == "zh"
    assert done == [
        ("marketing", "sms", False),
        ("marketing", "call", True),
        ("topic", "email", False),
        ("frequency", None, None),
        ("language", None, None),
    ]
    page = answer.body.decode()
    assert 'role="status"' in page and page.count("<li>") == 5


def test_saving_the_same_again_changes_nothing(store: Store) -> None:
    permit(store, "c1", "email")
    form: dict[str, Any] = {
        "language": "en",
        "channel": ["email"],
        "topic": ["email:news", "email:offers"],
        "frequency": "",
    }
    for later in range(3):
        answer = save(store, show(store, AT + later), AT + later + 1, **form)
        assert "Nothing was changed." in answer.body.decode()
    with store.begin() as connection:
        assert read_changes(connection) == []


def test_two_open_pages_do_not_undo_each_other(store: Store) -> None:
    permit(store, "c1", "email", "sms")
    first, second = show(store), show(store)
    save(store, first, AT + 1, channel=["sms"], topic=["sms:news", "sms:offers"])
    # The second page still shows e-mail as on; its owner only switches SMS off.
    save(store, second, AT + 2, channel=["email"], topic=["email:news", "email:offers"])
    assert stand(store) == {"email": False, "sms": False}


def test_an_old_page_gives_no_consent_after_a_withdrawal(store: Store) -> None:
    permit(store, "c1", "email", "sms")
    save(store, show(store), AT + 1, channel=["sms"])
    shown = show(store, AT + 2)
    save(store, shown, AT + 3, channel=["email", "sms"])
    assert stand(store)["email"]
    tracking = open_tracking(store)
    tracking.post_unsubscribe(
        sign_token(RING, customer_id="c1", channel="email"), ask(AT + 4, "POST"), ONE_CLICK
    )
    save(store, shown, AT + 5, channel=["email", "sms"])
    assert not stand(store)["email"]


@pytest.mark.parametrize(
    "frequency", ["0/30", "-1/30", "99999999999999/1", "2/30; DROP TABLE x", "２/30", "a"]
)
def test_only_what_is_offered_can_be_chosen(store: Store, frequency: str) -> None:
    permit(store, "c1", "email")
    save(
        store,
        show(store),
        channel=["email", "sms", "all", "<script>"],
        topic=["email:news", "email:offers", "email:x", "all:all"],
        frequency=frequency,
        language="fr",
    )
    with store.begin() as connection:
        assert read_changes(connection) == [] and list_suppressions(connection) == []


def test_stopping_everything_ends_all_that_was_open(store: Store) -> None:
    permit(store, "c1", "email", "sms", "wechat")
    token = sign_preferences_token(RING, customer_id="c1")
    for _ in range(2):
        answer = open_tracking(store).post_preferences(token, ask(method="POST"), {"action": "stop"})
        assert answer.status == 200
    assert stand(store) == {"email": False, "sms": False, "wechat": False}
    with store.begin() as connection:
        assert len(read_changes(connection)) == 3


def test_one_customers_page_shows_and_changes_nothing_of_another(store: Store) -> None:
    permit(store, "c1", "email")
    permit(store, "c2", "sms")
    page = re.sub(r'value="[^"]{40,}"', "", show(store, customer="c1").body.decode())
    assert "e-mail" in page and "SMS" not in page and "c1" not in page
    other = sign_preferences_token(RING, customer_id="c2")
    form = {"action": "save", "ticket": find_ticket(show(store, customer="c1")), "channel": []}
    assert open_tracking(store).post_preferences(other, ask(AT + 1, "POST"), form).status == 400
    assert stand(store, "c2") == {"sms": True}


def test_a_request_without_anything_is_answered(store: Store) -> None:
    token = sign_preferences_token(RING, customer_id="nobody")
    assert open_tracking(store).show_preferences(token, Hit(at_ms=AT)).status == 200


def test_who_reads_the_page_in_another_language_may_choose_that_language(store: Store) -> None:
    permit(store, "c1", "email")
    token = sign_preferences_token(RING, customer_id="c1", language="zh")
    service = open_tracking(store)
    shown = service.show_preferences(token, ask(query={"lang": "en"}))
    assert "What you receive" in shown.body.decode()
    # The messages come in Chinese, and the page says so; saving it untouched changes nothing.
    assert re.findall(r'name="language" value="(..)"(?= checked)', shown.body.decode()) == ["zh"]
    fields = {"action": "save", "ticket": find_ticket(shown), "channel": ["email"], "lang": "en"}
    service.post_preferences(token, ask(AT + 1, "POST"), {**fields, "language": "zh"})
    with store.begin() as connection:
        assert read_standing(connection, "c1", AT + 2).language is None
    service.post_preferences(token, ask(AT + 2, "POST"), {**fields, "language": "en"})
    with store.begin() as connection:
        assert read_standing(connection, "c1", AT + 3).language == "en"
