"""A message is made of the right content: language, variant, version, customer's values, products, coupon, links."""

from __future__ import annotations

import threading
from dataclasses import replace as change
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from aimwell.deployment.channels.channel import Message
from aimwell.deployment.composing import MessageMaker, Person
from aimwell.deployment.content.definition import ProductBlock, read_definition
from aimwell.deployment.content.library import save_content
from aimwell.deployment.content.products import build_block, read_best_sellers, read_shelf
from aimwell.deployment.coupons import issue_reserved, make_codes, open_pool
from aimwell.deployment.policy import Candidate
from aimwell.engine.workspace import Workspace
from tests.deployment.scene import DAY, describe, replace

PRODUCTS = [
    ("1", "BANANAS", Decimal("1.20"), None),
    ("2", "Apples <b>", Decimal("1299.50"), 5),
    ("3", "Milk", None, 0),
    ("4", "Bread", Decimal("2.00"), None),
    ("5/6", "Salt & pepper", Decimal("3.00"), None),
]
BODY: dict[str, Any] = {
    "products": {
        "count": 3,
        "link": "https://shop.example/p/{product_id}",
        "image": "https://shop.example/i/{product_id}.png",
    },
    "coupon": "spring",
    "variables": {
        "city": {"from": "customers.city", "default": {"en": "your city", "zh": "您的城市"}},
        "points": {"kind": "number", "from": "customers.points"},
        "hours": {"from": "tags.favourite_hour", "default": ""},
    },
    "variants": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}],
    "parts": {
        "en/subject.txt": "For {{ customer_name | default: 'you' }} in {{ city }}",
        "en/b/subject.txt": "B for {{ city }}",
        "en/email.txt": "{{ product_block }}\n{{ coupon_code }}\n{{ unsubscribe_url }} {{ preferences_url }}",
        "en/email.html": '<p>{{ city }}</p>{{ product_block }}<a href="{{ unsubscribe_url }}">x</a>',
        "en/sms.txt": "{{ points }} points, {{ business }}. STOP",
        "en/push_title.txt": "{{ business }}",
        "en/push_body.txt": "{{ recommendations.first.name | default: 'Hello' }}{{ hours }}",
        "en/push_url.txt": "https://shop.example/{{ customer_name | default: '' | url_encode }}",
        "zh/sms.txt": "{{ city }} 退订回R",
    },
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace.create(
        tmp_path_factory.mktemp("shop") / "w", name="Shop", zone="America/New_York", currency="USD"
    )
    people = [describe(name) for name in ("c01", "c02", "c03")]
    people[0] |= {"city": "<i>Rome</i>", "points": "12"}
    people[1] |= {"city": "", "points": "many"}
    people[2] |= {"city": None, "points": None}
    with workspace.run("data", as_of=DAY) as run:
        run.replace("customers", pa.Table.from_pylist(people))
        products = [
            {"product_id": key, "name": name, "price": price, "stock": stock, "source": "s"}
            for key, name, price, stock in PRODUCTS
        ]
        replace(run, "products", products)
        recommended = [("c01", 1, "3"), ("c01", 2, "2"), ("c01", 3, "1"), ("c02", 1, "2")]
        rows = [
            {
                "customer_id": customer,
                "rank": rank,
                "product_id": product,
                "score": 1.0,
                "new_to_customer": True,
                "run_id": run.id,
            }
            for customer, rank, product in recommended
        ]
        replace(run, "recommendations", rows)
    save_content(workspace.store, read_definition("spring", BODY))
    with workspace.store.begin() as connection:
        open_pool(connection, "spring", 0)
        make_codes(connection, "spring", 10)
    return workspace


def ask(
    workspace: Workspace,
    customer: str,
    channel: str = "email",
    content_id: str | None = "spring",
    **detail: Any,
) -> Candidate:
    return Candidate(
        f"{customer} {channel} {content_id} {detail}",
        customer,
        channel,
        DAY,
        True,
        0,
        plan_id="p1",
        content_id=content_id,
        detail=detail,
    )


def make(maker: MessageMaker, candidate: Candidate, **values: Any) -> Message:
    maker.prepare([candidate])
    return maker.make(candidate, Person(candidate.customer_id, "a@shop.example", "Ann", "en"), values)


def test_variant_values_products_and_links_come_together(shop: Workspace) -> None:
    maker = MessageMaker(shop)
    candidate = ask(shop, "c01", variant="a", content_version=1, coupon_pool="spring")
    with shop.store.begin() as connection:
        assert issue_reserved(connection, [candidate], 1) == set()
    message = make(maker, candidate)
    assert message.subject == "For Ann in <i>Rome</i>"
    assert "<p>&lt;i&gt;Rome&lt;/i&gt;</p>" in message.html
    # Milk is out of stock; names are softened; prices are exact.
    assert "- Apples <b>, $1,299.50\n  https://shop.example/p/2\n- Bananas, $1.20" in message.text
    assert 'src="https://shop.example/i/2.png" alt="Apples &lt;b&gt;"' in message.html
    assert message.details["coupon"] in message.text
    assert message.unsubscribe_url.startswith("https://localhost/unsubscribe/")
    assert message.unsubscribe_url in message.text
    assert "/preferences/" in message.text
    assert message.plan_id == "p1"
    other = ask(shop, "c01", variant="b", coupon_pool="spring")
    with pytest.raises(ValueError, match="coupon_code"):
        make(maker, other)
    assert make(maker, ask(shop, "c01", "push", variant="b")).subject == "Shop"


def test_a_value_of_another_kind_takes_the_default_or_no_message_is_made(shop: Workspace) -> None:
    maker = MessageMaker(shop)
    assert make(maker, ask(shop, "c01", "sms", variant="a")).text == "12 points, Shop. STOP"
    for customer in ("c02", "c03"):
        with pytest.raises(ValueError, match="points"):
            make(maker, ask(shop, customer, "sms", variant="a"))
    assert make(maker, ask(shop, "c03", "sms", variant="a"), points=7).text == "7 points, Shop. STOP"


def test_the_language_is_the_customer_s_as_far_as_there_are_texts(shop: Workspace) -> None:
    maker = MessageMaker(shop)
    candidate = ask(shop, "c02", "sms", variant="a")
    message = maker.make(candidate, Person("c02", "+861390000", "王", "zh"), {})
    assert (message.text, message.language) == ("您的城市 退订回R", "zh")
    with pytest.raises(LookupError):
        maker.make(ask(shop, "c02", "push", variant="a"), Person("c02", "x", "", "zh"), {})
    with pytest.raises(ValueError, match="no address"):
        maker.make(candidate, Person("c02", None), {})


def test_push_and_in_app_messages_say_what_they_open(shop: Workspace) -> None:
    message = make(MessageMaker(shop), ask(shop, "c01", "push", variant="a"))
    assert (message.subject, message.text) == ("Shop", "Apples <b>")
    assert message.details["link"] == "https://shop.example/Ann"
    assert message.unsubscribe_url == ""


def test_old_versions_stay_what_they_were(shop: Workspace) -> None:
    body = {**BODY, "parts": {**BODY["parts"], "en/sms.txt": "New. STOP"}}
    version = save_content(shop.store, read_definition("spring", body))
    maker = MessageMaker(shop)
    assert make(maker, ask(shop, "c01", "sms", variant="a", content_version=version)).text == "New. STOP"
    assert (
        make(maker, ask(shop, "c01", "sms", variant="a", content_version=1)).text == "12 points, Shop. STOP"
    )
    assert save_content(shop.store, read_definition("spring", BODY)) == version + 1


def test_contents_of_one_reservation_keep_their_own_variables(shop: Workspace) -> None:
    other = {"variables": {"city": {"from": "customers.points"}}, "parts": {"en/sms.txt": "{{ city }}. STOP"}}
    save_content(shop.store, read_definition("other", other))
    maker = MessageMaker(shop)
    rows = [ask(shop, "c01", "sms", "other"), ask(shop, "c01", variant="b", coupon_pool="spring")]
    with shop.store.begin() as connection:
        assert issue_reserved(connection, rows, 1) == set()
    maker.prepare(rows)
    person = Person("c01", "x", "Ann", "en")
    assert maker.make(rows[0], person, {}).text == "12. STOP"
    assert maker.make(rows[1], person, {}).subject == "B for <i>Rome</i>"


def test_a_content_that_is_not_there_fails_its_own_delivery_only(shop: Workspace) -> None:
    maker = MessageMaker(shop)
    wrong = [ask(shop, "c01", "sms", "nothing"), ask(shop, "c01", "sms", content_version=99)]
    right = ask(shop, "c01", "sms", variant="a")
    maker.prepare([*wrong, right])
    for candidate in wrong:
        with pytest.raises(ValueError, match="no_content"):
            maker.make(candidate, Person("c01", "x", "Ann", "en"), {})
    assert maker.make(right, Person("c01", "x", "Ann", "en"), {}).text == "12 points, Shop. STOP"


def test_whoever_tracks_sees_every_message(shop: Workspace) -> None:
    channels: list[str] = []

    def track(message: Message, channel: str) -> Message:
        channels.append(channel)
        return change(message, html=message.html + "<!-- seen -->")

    maker = MessageMaker(shop, track=track)
    values = {"valid_until": "31 December 2030"}
    assert make(maker, ask(shop, "c01", content_id=None), **values).html.endswith("<!-- seen -->")
    assert make(maker, ask(shop, "c01", content_id="default"), **values).text.startswith("Hello Ann,")
    assert channels == ["email", "email"]


def test_threads_share_a_maker(shop: Workspace) -> None:
    maker, made, failures = MessageMaker(shop), [], []

    def work(channel: str) -> None:
        try:
            for number in range(8):
                candidates = [ask(shop, f"c0{1 + number % 2 * 2}", channel, variant="b", number=number)]
                maker.prepare(candidates)
                made.append(
                    maker.make(
                        candidates[0], Person(candidates[0].customer_id, "x", "Ann", "en"), {"points": 1}
                    )
                )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(channel,)) for channel in ("sms", "push")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(made) == 16
    texts = {message.text for message in made if message.details.get("link") is None}
    assert texts == {"1 points, Shop. STOP", "12 points, Shop. STOP"}


def test_best_sellers_stand_in_where_nothing_is_recommended(shop: Workspace) -> None:
    with shop.run("data", as_of=date(2017, 9, 1)) as run:
        lines = [
            {"line_id": f"l{number}", "order_id": f"o{number}", "customer_id": "c09", "product_id": product,
             "ordered_at": datetime(2017, 8, 20, tzinfo=UTC), "ordered_on": day,
             "quantity": quantity, "revenue": Decimal("1.00"), "source": "s", "simulated": False}
            for number, (product, quantity, day) in enumerate(
                [("4", 5.0, date(2017, 8, 20)), ("5/6", 9.0, date(2017, 8, 20)), ("2", 1.0, date(2017, 8, 20)),
                 ("1", 99.0, date(2017, 1, 1)), ("3", 99.0, date(2017, 8, 20)), ("4", -4.0, date(2017, 8, 20))]
            )
        ]  # fmt: skip
        replace(run, "order_lines", lines)
    block = ProductBlock(count=3, link="https://shop.example/p/{product_id}")
    with shop.read() as reader:
        shelf = read_shelf(reader, ["c02", "c03"], read_best_sellers(reader, DAY))
    names = {
        customer: [product["name"] for product in shelf.list_products(customer, block, "en", "USD")]
        for customer in ("c02", "c03")
    }
    assert names == {
        "c02": ["Apples <b>", "Salt & pepper", "Bread"],
        "c03": ["Salt & pepper", "Bread", "Apples <b>"],
    }
    product = shelf.list_products("c03", block, "zh", "CNY")[0]
    assert product == {
        "product_id": "5/6",
        "name": "Salt & pepper",
        "price": "￥3.00",
        "link": "https://shop.example/p/5%2F6",
    }
    assert build_block([], "en").html == ""
    assert "Salt &amp; pepper" in build_block([product], "zh").html
