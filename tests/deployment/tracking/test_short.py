"""Short links of SMS: kept before the message goes out, judged like others, and leading nowhere else or for ever."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.core.errors import Conflict
from aimwell.data.erasure import erase_person
from aimwell.deployment.channels.channel import Message
from aimwell.deployment.channels.sms import measure_sms
from aimwell.deployment.content import Content
from aimwell.deployment.content.lint import lint_content, measure_content
from aimwell.deployment.tracking.answers import Answer
from aimwell.deployment.tracking.endpoints import Tracking
from aimwell.deployment.tracking.hits import read_hits, remember_links
from aimwell.deployment.tracking.keys import Keyring, rotate_keys
from aimwell.deployment.tracking.message import Tracker
from aimwell.deployment.tracking.short import (
    LENGTH,
    ShortLink,
    find_short,
    find_shortener,
    keep_short_links,
    make_token,
)
from aimwell.deployment.tracking.tokens import identify_link
from aimwell.engine.settings import TrackingSettings
from aimwell.engine.store import Store
from aimwell.engine.tracking_tables import SHORT_LINKS
from aimwell.engine.workspace import Workspace
from aimwell.loop.retention import forget_old
from tests.deployment.scene import build_workspace
from tests.deployment.stores import BOTH, find_address
from tests.deployment.tracking.scene import BASE, HOUR, RING, ask, identify, send
from tests.postgres import postgres  # noqa: F401 (a fixture)

TARGET = "https://shop.example/spring?x=1&y=2"
OTHER = "https://shop.example/b"
SIGNS = rf"[A-Za-z2-9]{{{LENGTH}}}"
DAY_MS = 86_400_000


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path / "w", customers=3)


def open_tracker(workspace: Workspace) -> Tracker:
    tracker = Tracker.open(workspace, address=BASE)
    tracker._settings = TrackingSettings(sms_clicks=True)
    return tracker


def write_sms(text: str, customer: str = "c01") -> Message:
    return Message(identify(customer, "sms"), "p1", customer, "+8613800138000", text)


def find_tokens(text: str) -> list[str]:
    return re.findall(rf"{re.escape(BASE)}/c/({SIGNS})(?![\w-])", text)


def find_location(answer: Answer) -> str | None:
    return dict(answer.headers).get("Location")


def now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def test_a_link_is_kept_before_the_message_goes_out_and_leads_on(workspace: Workspace) -> None:
    at = now_ms()
    delivery = send(workspace.store, "c01", "sms", finished_at_ms=at - HOUR)
    sms = write_sms(f"新品 {TARGET} 或 {OTHER} 回T退订")
    short = open_tracker(workspace).track(sms, "sms")
    first, second = find_tokens(short.text)
    assert first != second and "shop.example" not in short.text and short.text.endswith(" 回T退订")
    assert measure_sms(short.text).units == len("新品  或  回T退订") + 2 * len(f"{BASE}/c/{first}")
    tracking = Tracking.open(workspace)
    assert str(find_location(tracking.handle_click(first, ask(at)))).startswith(f"{TARGET}&aw=")
    assert str(find_location(tracking.handle_click(second, ask(at + HOUR)))).startswith(f"{OTHER}?aw=")
    robot = ask(at + 2 * HOUR, agent="Mozilla/5.0 (compatible; bingbot/2.0)")
    assert tracking.handle_click(first, robot).status == 302
    with workspace.store.snapshot() as connection:
        hits = read_hits(connection, deliveries=[delivery])
    assert [(hit.kind, hit.channel, hit.place, hit.machine) for hit in hits] == [
        ("click", "sms", 0, False),
        ("click", "sms", 1, False),
        ("click", "sms", 0, True),
    ]


def test_the_same_message_is_made_the_same_again_and_others_differ(workspace: Workspace) -> None:
    sms = write_sms(f"{OTHER} 回T退订")
    tracked = [open_tracker(workspace).track(sms, "sms") for _ in range(2)]
    assert tracked[0] == tracked[1]
    # The same text to somebody else, or with the link in another place, has links of its own.
    texts = (open_tracker(workspace).track(write_sms(f"{OTHER} 回T退订", "c02"), "sms").text, tracked[0].text)
    assert len({token for text in texts for token in find_tokens(text)}) == 2
    assert len({make_token(RING, identify(), TARGET, place) for place in range(300)}) == 300
    assert make_token(Keyring.of(b"another secret, long enough"), identify(), TARGET, 0) != make_token(
        RING, identify(), TARGET, 0
    )


def test_only_an_sms_with_links_changes(workspace: Workspace) -> None:
    tracker = open_tracker(workspace)
    for channel in ("call", "robot", "push", "email"):
        assert tracker.track(write_sms(f"{OTHER} x"), channel).text == f"{OTHER} x"
    plain = write_sms("没有链接 回T退订")
    assert tracker.track(plain, "sms") == plain
    # Where letters follow at once nobody knows where the address ends.
    unclear = write_sms(f"{OTHER}退订")
    assert tracker.track(unclear, "sms") == unclear


def test_what_is_not_known_or_over_leads_nowhere(workspace: Workspace) -> None:
    send(workspace.store, "c01", "sms")
    token = find_tokens(open_tracker(workspace).track(write_sms(f"{TARGET} T"), "sms").text)[0]
    tracking = Tracking.open(workspace)
    last = now_ms() + 180 * DAY_MS
    assert tracking.handle_click(token, ask(last - HOUR)).status == 302
    swapped = token[:-1] + ("a" if token[-1] != "a" else "b")
    for wrong in (swapped, token.swapcase(), token[:-1], token + "2", "%00" * 4, "../../etc/pwd"):
        assert (tracking.handle_click(wrong, ask()).status, wrong) == (404, wrong)
    assert tracking.handle_click(token, ask(last + HOUR)).status == 404
    assert tracking.handle_click(token, ask(method="POST")).status == 405


def test_a_changed_row_is_no_open_redirect(workspace: Workspace) -> None:
    token = find_tokens(open_tracker(workspace).track(write_sms(f"{TARGET} T"), "sms").text)[0]
    evil = identify_link("https://evil.example/")
    for values in ({"link_id": evil}, {"link_id": "0" * 18}):
        with workspace.store.begin() as connection:
            connection.execute(sa.update(SHORT_LINKS).values(values))
        answer = Tracking.open(workspace).handle_click(token, ask())
        assert (answer.status, find_location(answer)) == (404, None)
    # Not even where somebody has put the address itself behind the name of another.
    with workspace.store.begin() as connection:
        connection.execute(sa.text("UPDATE tracked_links SET target = 'https://evil.example/x'"))
        connection.execute(sa.update(SHORT_LINKS).values(link_id=identify_link(TARGET)))
    assert Tracking.open(workspace).handle_click(token, ask()).status == 404


def test_links_outlive_a_change_of_keys(workspace: Workspace) -> None:
    token = find_tokens(open_tracker(workspace).track(write_sms(f"{TARGET} T"), "sms").text)[0]
    with workspace.store.begin() as connection:
        rotate_keys(connection, now_ms=now_ms(), keep_days=60)
    again = find_tokens(open_tracker(workspace).track(write_sms(f"{TARGET} T"), "sms").text)[0]
    assert again != token
    tracking = Tracking.open(workspace)
    for one in (token, again):
        assert tracking.handle_click(one, ask(now_ms() + 100 * DAY_MS)).status == 302


def test_old_links_and_those_of_erased_people_go(workspace: Workspace) -> None:
    tracker = open_tracker(workspace)
    for customer in ("c01", "c02"):
        tracker.track(write_sms(f"{TARGET} T", customer), "sms")

    def count() -> int:
        with workspace.store.snapshot() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(SHORT_LINKS)).scalar_one()

    erase_person(workspace, "c01", dry_run=False)
    assert count() == 1
    at = datetime.now(UTC)
    forget_old(workspace, at + timedelta(days=179))
    assert count() == 1
    forget_old(workspace, at + timedelta(days=181))
    assert count() == 0


@pytest.mark.parametrize("kind", BOTH)
def test_both_databases_keep_each_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    store = Store(find_address(kind, tmp_path, request))
    links = [ShortLink(f"{place:0>12}", identify(), "c1", identify_link(TARGET), place) for place in range(3)]
    for _ in range(2):
        with store.begin() as connection:
            remember_links(connection, {identify_link(TARGET): TARGET}, 1)
            keep_short_links(connection, links, now_ms=1, expires_ms=9)
    with store.snapshot() as connection:
        found = find_short(connection, links[2].token, 8)
        assert found is not None and (found.delivery, found.place) == (identify()[:24], 2)
        assert find_short(connection, links[2].token, 9) is None
    other = [ShortLink(links[0].token, identify("c2"), "c2", identify_link(TARGET), 0)]
    with pytest.raises(Conflict, match="cannot be told apart"), store.begin() as connection:
        keep_short_links(connection, other, now_ms=1, expires_ms=9)
    store.close()


def test_lint_counts_the_link_that_the_sms_will_have() -> None:
    long = "https://shop.example/" + "a" * 60
    text = f"春季新品七折，详见 {long} 只限本周末，先到先得。拒收请回复T退订"
    content = Content("zh", {"sms.txt": text})
    shorten = find_shortener(TrackingSettings(sms_clicks=True), BASE)
    assert shorten is not None and len(shorten(text)) == len(text) - len(long) + len(f"{BASE}/c/") + LENGTH
    written, sent = measure_content(content), measure_content(content, shorten=shorten)
    assert written is not None and sent is not None
    assert (written.length.segments, sent.length.segments) == (2, 1)
    three = Content("zh", {"sms.txt": text + "新" * 34})
    codes = [{finding.code for finding in lint_content(three, shorten=one)} for one in (None, shorten)]
    assert "long_sms" in codes[0] and "long_sms" not in codes[1]


def test_without_the_setting_or_an_address_links_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIMWELL_PUBLIC_URL", raising=False)
    assert find_shortener(TrackingSettings(), BASE) is None
    assert find_shortener(TrackingSettings(sms_clicks=True)) is None
    monkeypatch.setenv("AIMWELL_PUBLIC_URL", BASE)
    assert find_shortener(TrackingSettings(sms_clicks=True)) is not None
