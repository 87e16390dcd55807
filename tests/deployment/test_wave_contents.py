"""A wave whose offer uses a content: own words, a code each, variants with their probability, reasons that add up."""

from __future__ import annotations

import email
import re
from collections import Counter
from collections.abc import Iterator
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.core.steps import StepResult
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.content.definition import read_definition
from aimwell.deployment.content.library import load_library, save_content, use_content
from aimwell.deployment.coupon_codes import is_genuine
from aimwell.deployment.coupons import count_pools, make_codes, open_pool
from aimwell.deployment.ledger import Terms
from aimwell.deployment.sink import Sink
from aimwell.deployment.step import launch
from aimwell.engine.content_tables import COUPON_ISSUES
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.workspace import Workspace
from tests.deployment.scene import DAY, SENDER, build_workspace

BODY: dict[str, Any] = {
    "coupon": "spring",
    "variants": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}],
    "parts": {
        "en/subject.txt": "Variant a",
        "en/b/subject.txt": "Variant b",
        "en/email.txt": "Your code: {{ coupon_code }}.\n{{ unsubscribe_url }}",
        "en/email.html": '<p>Your code: {{ coupon_code }}.</p><a href="{{ unsubscribe_url }}">x</a>',
        "en/sms.txt": "{{ coupon_code }} STOP",
        "en/call.txt": "{{ customer_name }}",
        "en/mail.txt": "{{ coupon_code }}",
    },
}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = build_workspace(tmp_path / "shop", customers=80)
    save_content(made.store, read_definition("spring", BODY))
    use_content(made.store, "produce_20", "spring")
    yield made
    made.close()


def send(workspace: Workspace, folder: Path) -> StepResult:
    with Sink(folder) as sink:
        channel = SmtpChannel(Server("127.0.0.1", sink.port, SENDER), connections=2)
        return launch(
            workspace,
            plan_id="p1",
            as_of=DAY,
            channels={"email": channel},
            terms=Terms(lease=5.0, retry=0),
        )


def test_every_mail_has_a_code_of_its_own_and_the_rest_adds_up(workspace: Workspace, tmp_path: Path) -> None:
    with workspace.store.begin() as connection:
        open_pool(connection, "spring", 0)
        make_codes(connection, "spring", 30)
    summary = send(workspace, tmp_path / "mails").summary
    assert summary["sums_up"] is True
    bodies, subjects = [], Counter[str]()
    for path in sorted((tmp_path / "mails").glob("*.eml")):
        mail = email.message_from_bytes(path.read_bytes(), policy=default)
        plain = mail.get_body(("plain",))
        assert plain is not None
        bodies.append(plain.get_content())
        subjects[str(mail["Subject"])] += 1
    codes = [re.search(r"Your code: ([\w-]+)\.", body) for body in bodies]
    found = [code[1] for code in codes if code]
    assert len(found) == len(set(found)) == len(bodies) > 0
    assert all(is_genuine(code) for code in found)
    with workspace.store.snapshot() as connection:
        rows = connection.execute(sa.select(DELIVERIES)).all()
        pool = count_pools(connection, 1)[0]
        issued = set(connection.execute(sa.select(COUPON_ISSUES.c.delivery_id)).scalars())
    reasons = Counter((row.state, row.reason) for row in rows)
    sent = {row.delivery_id for row in rows if row.state == "sent"}
    assert len(rows) == summary["audience"] == reasons.total()
    # Nobody has a name, so that no call can be written; whoever could not be called gives the code back.
    assert reasons[("failed", "content_error")] > 0
    assert {row.channel for row in rows if row.reason == "content_error"} == {"call"}
    assert reasons[("skipped", "no_coupon")] == len(rows) - len(sent) - reasons[("failed", "content_error")]
    assert issued == sent
    assert (pool.total, pool.issued, pool.free) == (30, len(sent), 30 - len(sent))
    # What was drawn is in the ledger with its probability, and is what was sent.
    drawn = Counter(row.detail["variant"] for row in rows if row.state == "sent" and row.channel == "email")
    assert subjects == {f"Variant {name}": count for name, count in drawn.items()}
    assert set(drawn) == {"a", "b"}
    assert {row.detail["variant_probability"] for row in rows} == {0.5}
    library = load_library(workspace)
    assert all(
        row.detail["variant"] == library.describe("spring", row.customer_id)["variant"] for row in rows
    )
