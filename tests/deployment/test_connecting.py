"""From settings and environment to channels that work."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from aimwell.core.errors import AimwellError, BadInput, NotAllowed, NotReady
from aimwell.deployment.channels.channel import Channel, Message, Outcome
from aimwell.deployment.channels.connecting import (
    connect_mail,
    find_return_path,
    list_others,
    load_signers,
    take_bounces,
    take_report,
)
from aimwell.deployment.channels.smtp import SmtpChannel
from aimwell.deployment.channels.unready import Unready
from aimwell.deployment.channels.webhook import HookSecret, verify_hook
from aimwell.deployment.sending import work
from aimwell.deployment.ways import build_channels
from aimwell.engine.settings import FILE_NAME, load_settings, write_settings
from aimwell.engine.workspace import Workspace
from tests.deployment.mails import compose
from tests.deployment.reports import dsn
from tests.deployment.scene import count, count_reasons, fill, open_ledger
from tests.deployment.test_bounces import find_suppressed, send_to
from tests.deployment.test_dkim import to_pem, verify
from tests.deployment.test_mime import MESSAGE
from tests.deployment.test_push import KEY, subscribe
from tests.deployment.test_smtp_servers import Keeper, serve
from tests.deployment.tls import make_authority
from tests.deployment.web_servers import Reply, serve_web

SECRET = HookSecret(b"s" * 32)


def connect_others(shop: Workspace) -> dict[str, Channel]:
    return {name: make() for name, make in list_others(shop).items()}


def open_shop(folder: Path, text: str) -> Workspace:
    """A workspace with the sections in ``text`` in place of the file's own."""
    Workspace.create(folder, name="Shop", zone="Asia/Shanghai", currency="CNY").close()
    (folder / FILE_NAME).write_text(text, encoding="utf-8")
    return Workspace.open(folder)


def write_key(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dkim.pem").write_bytes(to_pem(rsa.generate_private_key(65537, 2048)))


def test_mail_goes_out_encrypted_signed_and_with_a_way_back(tmp_path: Path) -> None:
    authority, keeper = make_authority(tmp_path / "tls"), Keeper()
    with serve(keeper, authority.serve_as("127.0.0.1")) as server:
        shop = open_shop(
            tmp_path / "shop",
            f'[smtp]\nport = {server.port}\nstarttls = true\nsender = "Shop <news@shop.example>"\n'
            f'[mail]\nca_file = "{authority.file.as_posix()}"\nreturn_path = "bounce@shop.example"\n'
            '[[mail.dkim]]\nselector = "s1"\nkey_file = "dkim.pem"\n',
        )
        write_key(shop.path)
        channel = connect_mail(shop)
        assert channel.deliver(MESSAGE).outcome is Outcome.SENT
        channel.finish()
        path, signers = find_return_path(shop), load_signers(shop)
    sender, content, encrypted = keeper.taken[0]
    assert encrypted and path is not None
    assert path.read(sender) == MESSAGE.delivery_id[:32]
    assert signers[0].domain == "shop.example" and verify(content, 0, *signers)
    shop.close()


def test_a_dkim_key_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = to_pem(rsa.generate_private_key(65537, 2048)).decode()
    monkeypatch.setenv("AIMWELL_DKIM_KEY", pem.replace("\n", "\\n"))
    shop = open_shop(tmp_path / "shop", '[[mail.dkim]]\nselector = "s1"\ndomain = "mail.shop.example"\n')
    (signer,) = load_signers(shop)
    assert signer.domain == "mail.shop.example"
    write_settings(shop.settings, shop.path / "copy.toml")
    assert "PRIVATE" not in (shop.path / "copy.toml").read_text() and "PRIVATE" not in repr(shop.settings)
    shop.close()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('[[mail.dkim]]\nselector = "s1"\n', "deployment.secret_missing"),
        ('[[mail.dkim]]\nselector = "s1"\nkey_file = "no.pem"\n', "deployment.key_file"),
        ('[webhook]\nurl = "https://hooks.invalid/x"\n', "deployment.secret_missing"),
        ('[webhook]\nurl = "https://127.0.0.1/x"\n', "deployment.address_refused"),
        ('[webhook]\nurl = "ftp://x"\n', "deployment.web_address_invalid"),
        (
            '[web]\ninternal = ["x y"]\n[webhook]\nurl = "https://127.0.0.1/x"\n',
            "deployment.exemption_invalid",
        ),
        ('[push]\nsubject = "mailto:a@shop.example"\n', "deployment.secret_missing"),
        ('[robots.sales]\nvendor = "wecom"\n', "deployment.secret_missing"),
        ('[mail]\nreturn_path = "a b"\n', "deployment.return_path"),
        ('[smtp]\nhost = "mail.invalid"\nuser = "shop"\n', "deployment.mail_password_open"),
    ],
)
def test_what_is_missing_or_wrong_is_said(tmp_path: Path, text: str, code: str) -> None:
    shop = open_shop(tmp_path / "shop", text)
    with pytest.raises(AimwellError) as caught:
        connect_mail(shop)
        connect_others(shop)
    assert caught.value.code == code and isinstance(caught.value, BadInput | NotReady | NotAllowed)
    shop.close()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[push]\nsubject = "a@shop.example"\n', "push.subject"),
        ('[mail]\nseeds = ["nobody"]\n', "mail.seeds.0"),
        ('[robots."Sales Team"]\nvendor = "wecom"\n', "robots.Sales Team.[key]"),
        ('[robots.a]\nvendor = "slack"\n', "robots.a.vendor"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(BadInput) as caught:
        load_settings(tmp_path / FILE_NAME)
    assert caught.value.where["column"] == key and "memory" not in str(caught.value)


def test_webhook_push_and_robot_work_as_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = KEY.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    replies = {"/robot": Reply(200, b'{"errcode":0}'), "/push": Reply(201)}
    with serve_web(lambda asked: replies.get(asked.path.partition("?")[0], Reply())) as web:
        monkeypatch.setenv("AIMWELL_WEBHOOK_SECRET", SECRET.show())
        monkeypatch.setenv("AIMWELL_PUSH_KEY", pem.decode())
        monkeypatch.setenv("AIMWELL_ROBOT_SHOP_1_URL", f"{web.url}/robot?access_token=t")
        monkeypatch.setenv("AIMWELL_ROBOT_SHOP_1_SECRET", "SEC")
        shop = open_shop(
            tmp_path / "shop",
            f'[web]\ninternal = ["127.0.0.1:{web.port}"]\n[webhook]\nurl = "{web.url}/hook"\n'
            '[push]\nsubject = "mailto:a@shop.example"\nttl_hours = 2\n[robots.shop-1]\nvendor = "dingtalk"\n',
        )
        channels = connect_others(shop)
        assert sorted(channels) == ["push", "robot:shop-1", "webhook"]
        for channel in channels.values():
            assert (
                channel.deliver(replace(MESSAGE, recipient=subscribe(f"{web.url}/push"))).outcome
                is Outcome.SENT
            )
            channel.finish()
        shop.close()
    asked = {one.path.partition("?")[0]: one for one in web.asked}
    assert verify_hook(asked["/hook"].headers, asked["/hook"].body, [SECRET]) == MESSAGE.delivery_id
    assert asked["/push"].headers["ttl"] == "7200"
    assert "&sign=" in asked["/robot"].path and json.loads(asked["/robot"].body)["msgtype"] == "markdown"


def test_what_is_not_named_is_not_there(tmp_path: Path) -> None:
    shop = open_shop(tmp_path / "shop", "")
    assert connect_others(shop) == {} and load_signers(shop) == [] and find_return_path(shop) is None
    with pytest.raises(NotReady) as caught:
        take_bounces(shop)
    assert caught.value.code == "deployment.no_bounce_box"
    shop.close()


def test_bounces_are_taken_from_the_box_that_is_set(tmp_path: Path) -> None:
    shop = open_shop(
        tmp_path / "shop",
        '[mail]\nbounce_box = "bounces"\nreturn_path = "bounce@shop.example"\nsoft_bounces = 1\n',
    )
    (one,) = send_to(shop.store, ["full"])
    path = find_return_path(shop)
    assert path is not None
    (shop.path / "bounces").mkdir()
    soft = dsn("4.2.2", "smtp; 452 full", to=path.address(one), message_id="")
    (shop.path / "bounces" / "1.eml").write_bytes(soft)
    assert take_bounces(shop) == {"soft.suppressed": 1} and take_bounces(shop) == {}
    assert find_suppressed(shop.store) == [("full", "email", "soft_bounces")]
    shop.close()


def test_an_elliptic_key_of_another_curve_is_no_push_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMWELL_PUSH_KEY", to_pem(ec.generate_private_key(ec.SECP384R1())).decode())
    shop = open_shop(tmp_path / "shop", '[push]\nsubject = "mailto:a@shop.example"\n')
    with pytest.raises(BadInput) as caught:
        connect_others(shop)
    assert caught.value.code == "deployment.push_key"
    shop.close()


def test_a_mail_comes_back_and_the_next_campaign_leaves_the_customer_out(tmp_path: Path) -> None:
    """Out through the ledger to a real server, back by the address that it was sent from."""
    keeper = Keeper()
    with serve(keeper) as server:
        shop = open_shop(
            tmp_path / "shop",
            f'[smtp]\nport = {server.port}\nsender = "Shop <news@shop.example>"\n'
            '[mail]\nreturn_path = "bounce@shop.example"\n',
        )
        ledger = open_ledger(shop.store)
        fill(ledger, ["gone", "fine"], "p1")
        channel = connect_mail(shop)
        work(ledger, plan_id="p1", channel_name="email", channel=channel, compose=compose)
        assert count(ledger, "p1") == {"sent": 2}
        (gone,) = (sender for sender, content, _ in keeper.taken if b"gone@customers" in content)
        recorded = take_report(shop, dsn(to=gone, message_id=""))
        assert recorded is not None and (recorded.effect, recorded.customer_id) == ("suppressed", "gone")
        assert take_report(shop, b"Subject: hello\r\n\r\nhello") is None
        assert count(ledger, "p1") == {"sent": 1, "failed": 1}
        fill(ledger, ["gone", "fine"], "p2")
        work(ledger, plan_id="p2", channel_name="email", channel=connect_mail(shop), compose=compose)
        assert count(ledger, "p2") == {"sent": 1, "skipped": 1}
        assert count_reasons(ledger, "p2")["suppressed"] == 1
    assert len(keeper.taken) == 3
    shop.close()


def test_a_way_that_lacks_its_key_keeps_no_other_from_going_out(tmp_path: Path) -> None:
    shop = open_shop(tmp_path / "shop", '[push]\nsubject = "mailto:a@shop.example"\n')
    ways = build_channels(shop)
    assert isinstance(ways["push"], Unready) and ways["push"].problem.code == "deployment.secret_missing"
    assert isinstance(ways["email"], SmtpChannel)
    message = Message("d", "p", "c", "r", "t")
    assert ways["push"].deliver(message).code == "connection_failed"
    # Whatever a dead worker left there stays: nobody was asked.
    found = ways["push"].find("d")
    assert found is not None and found.outcome is Outcome.UNKNOWN
    shop.close()
