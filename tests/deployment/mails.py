"""The mail that tests send; light to import, because processes that are killed start often."""

from __future__ import annotations

from aimwell.deployment.channels.channel import Message
from aimwell.deployment.policy import Candidate

SENDER = "Aimwell 店 <news@shop.example>"


def compose(candidate: Candidate) -> Message:
    return Message(
        delivery_id=candidate.delivery_id,
        plan_id="p1",
        customer_id=candidate.customer_id,
        recipient=f"{candidate.customer_id}@customers.example",
        name="王小明",
        subject="生鲜8折",
        text="您好：\n生鲜8折。\n.\n退订：https://shop.example/u",
        html="<p>生鲜8折</p>",
        unsubscribe_url="https://shop.example/u/1",
    )
