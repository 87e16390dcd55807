"""Tags of what a customer does on our site and in our app, and of answers to messages: Segment's event names.

Measured on events (with their products), and on orders where an event is compared with a purchase.
"""

from __future__ import annotations

from aimwell.analysis.contact_tags import REDEEMED, SENT, VIEWED, define_days_since, define_event_count
from aimwell.analysis.tag import Kind, Tag, count_events, count_orders, define_tag
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.engine.specification import (
    Aggregate,
    Condition,
    DaysSince,
    Expression,
    Measure,
    Ratio,
    TagSpec,
    TopValue,
    Trend,
    Window,
)

ADDED = "Product Added"
WISHED = "Product Added to Wishlist"
CHECKOUT = "Checkout Started"
COMPLETED = "Order Completed"
EMAIL_OPENED = "Email Opened"
EMAIL_CLICKED = "Email Link Clicked"
_OWN = (Condition("name", "!=", SENT),)


def _need(*names: str) -> tuple[str, ...]:
    return tuple(f"events:{name}" for name in names)


def _rate(name: str, spec: TagSpec, title: Text, description: Text, needs: tuple[str, ...]) -> Tag:
    return define_tag(name, spec, title, description, unit="share", needs=needs)


def _define_views() -> tuple[Tag, ...]:
    viewed = (Condition("name", "=", VIEWED),)
    return (
        define_event_count(
            "product_views_7d",
            VIEWED,
            7,
            say("Products viewed in {days} days", days=7),
            say("Product pages that the customer looked at in the last {days} days.", days=7),
        ),
        define_event_count(
            "product_views_90d",
            VIEWED,
            90,
            say("Products viewed in {days} days", days=90),
            say("Product pages that the customer looked at in the last {days} days.", days=90),
        ),
        define_days_since(
            "days_since_product_view",
            VIEWED,
            say("Days since the last product view"),
            say("Days from the last look at a product page to today."),
        ),
        define_tag(
            "different_products_viewed_30d",
            Measure(Aggregate("events", "count_distinct", "product_id", viewed, Window(30))),
            say("Different products viewed in {days} days", days=30),
            say("How many different products the customer looked at in the last {days} days.", days=30),
            unit="products",
            needs=_need(VIEWED),
        ),
        define_tag(
            "favourite_viewed_category",
            TopValue("events", "category", None, Window(30), viewed),
            say("Category viewed most"),
            say("The category of most product views in the last {days} days.", days=30),
            unit="",
            needs=(*_need(VIEWED), "products.category"),
            kind="associated",
        ),
        define_tag(
            "last_viewed_product",
            Measure(Aggregate("events", "latest", "product_id", viewed, Window(30))),
            say("Product viewed last"),
            say(
                "The product looked at last in the last {days} days; of several at one moment, one.", days=30
            ),
            unit="",
            needs=_need(VIEWED),
        ),
    )


def _define_pages() -> tuple[Tag, ...]:
    return (
        define_event_count(
            "page_views_30d",
            "Page Viewed",
            30,
            say("Pages viewed in {days} days", days=30),
            say("Pages of our site that the customer opened in the last {days} days.", days=30),
        ),
        define_event_count(
            "searches_30d",
            "Products Searched",
            30,
            say("Searches in {days} days", days=30),
            say("Searches for products in the last {days} days.", days=30),
        ),
    )


def _define_carts() -> tuple[Tag, ...]:
    return (
        *(
            define_event_count(
                f"cart_adds_{days}d",
                ADDED,
                days,
                say("Added to cart in {days} days", days=days),
                say("Products put into the cart in the last {days} days.", days=days),
            )
            for days in (30, 90)
        ),
        define_days_since(
            "days_since_cart_add",
            ADDED,
            say("Days since the last addition to the cart"),
            say("Days from the last product put into the cart to today."),
        ),
        define_tag(
            "has_open_cart",
            Expression(
                "CASE WHEN days_since_cart_add <= 30 "
                "AND days_since_cart_add < COALESCE(recency_days, 100000) THEN TRUE ELSE FALSE END",
                Type.BOOLEAN,
            ),
            say("Open cart"),
            say(
                "Put something into the cart in the last {days} days, on a day after the last order.", days=30
            ),
            unit="",
            needs=(*_need(ADDED), "order_lines"),
            kind="associated",
        ),
        define_event_count(
            "cart_removals_30d",
            "Product Removed",
            30,
            say("Taken out of the cart in {days} days", days=30),
            say("Products taken out of the cart in the last {days} days.", days=30),
        ),
        define_event_count(
            "wishlist_adds_90d",
            WISHED,
            90,
            say("Favourites added in {days} days", days=90),
            say("Products marked as favourites in the last {days} days.", days=90),
        ),
    )


def _define_checkouts() -> tuple[Tag, ...]:
    return (
        *(
            define_event_count(
                f"checkouts_started_{days}d",
                CHECKOUT,
                days,
                say("Checkouts started in {days} days", days=days),
                say("How often the customer went to the checkout in the last {days} days.", days=days),
            )
            for days in (30, 90)
        ),
        define_event_count(
            "online_orders_30d",
            COMPLETED,
            30,
            say("Orders completed online in {days} days", days=30),
            say("Orders that the shop reported as an event in the last {days} days.", days=30),
        ),
    )


def _define_conversion() -> tuple[Tag, ...]:
    def per(event: str) -> TagSpec:
        return Ratio(count_orders(90), count_events(event, 90))

    return (
        _rate(
            "view_to_cart_rate_90d",
            Ratio(count_events(ADDED, 90), count_events(VIEWED, 90)),
            say("From view to cart"),
            say("Products put into the cart per product view in the last {days} days.", days=90),
            _need(ADDED, VIEWED),
        ),
        _rate(
            "view_to_order_rate_90d",
            per(VIEWED),
            say("From view to order"),
            say("Purchases per product view in the last {days} days.", days=90),
            (*_need(VIEWED), "order_lines"),
        ),
        _rate(
            "cart_to_order_rate_90d",
            per(ADDED),
            say("From cart to order"),
            say("Purchases per product put into the cart in the last {days} days.", days=90),
            (*_need(ADDED), "order_lines"),
        ),
        _rate(
            "checkout_to_order_rate_90d",
            per(CHECKOUT),
            say("From checkout to order"),
            say("Purchases per checkout started in the last {days} days.", days=90),
            (*_need(CHECKOUT), "order_lines"),
        ),
    )


def _define_visits() -> tuple[Tag, ...]:
    def own(name: str, spec: TagSpec, title: Text, description: Text, unit: str, kind: Kind) -> Tag:
        return define_tag(name, spec, title, description, unit=unit, needs=("events",), kind=kind)

    channel = TopValue("events", "channel", None, Window(90), _OWN)
    return (
        own(
            "active_days_30d",
            Measure(Aggregate("events", "count_distinct", "occurred_on", _OWN, Window(30))),
            say("Active days in {days} days", days=30),
            say("Different days on which the customer did anything, in the last {days} days.", days=30),
            "days",
            "behavioural",
        ),
        own(
            "activity_trend",
            Trend(
                Aggregate("events", "count", None, _OWN, Window(30)),
                Aggregate("events", "count", None, _OWN, Window(60, 30)),
            ),
            say("Trend of activity"),
            say(
                "From −1 (stopped) to 1 (started): events of the last 30 days against the 60 before, per day."
            ),
            "ratio",
            "behavioural",
        ),
        own(
            "favourite_channel",
            channel,
            say("Favourite channel"),
            say("The channel of most of the customer's events in the last {days} days.", days=90),
            "",
            "associated",
        ),
        own(
            "first_seen_days",
            DaysSince("events", "first", _OWN),
            say("Days since the first event"),
            say("Days from the customer's first known event, other than orders, to today."),
            "days",
            "behavioural",
        ),
    )


def _define_deeds() -> tuple[Tag, ...]:
    return (
        define_event_count(
            "app_opens_30d",
            "Application Opened",
            30,
            say("App opened in {days} days", days=30),
            say("How often the customer opened our app in the last {days} days.", days=30),
        ),
        define_event_count(
            "reviews_365d",
            "Product Reviewed",
            365,
            say("Reviews in {days} days", days=365),
            say("Products that the customer reviewed in the last {days} days.", days=365),
        ),
        define_event_count(
            "shares_365d",
            "Product Shared",
            365,
            say("Shared in {days} days", days=365),
            say("How often the customer shared a product in the last {days} days.", days=365),
        ),
    )


def _define_email() -> tuple[Tag, ...]:
    return (
        define_event_count(
            "email_opens_90d",
            EMAIL_OPENED,
            90,
            say("E-mails opened in {days} days", days=90),
            say("E-mails that the customer opened in the last {days} days.", days=90),
        ),
        define_event_count(
            "email_clicks_90d",
            EMAIL_CLICKED,
            90,
            say("E-mails clicked in {days} days", days=90),
            say("Links in e-mails that the customer followed in the last {days} days.", days=90),
        ),
        define_days_since(
            "days_since_email_open",
            EMAIL_OPENED,
            say("Days since an e-mail was opened"),
            say("Days from the last opened e-mail to today."),
        ),
        _rate(
            "message_open_rate_90d",
            Ratio(count_events(EMAIL_OPENED, 90), count_events(SENT, 90)),
            say("Rate of opening"),
            say("E-mails opened per message sent in the last {days} days.", days=90),
            _need(EMAIL_OPENED, SENT),
        ),
        _rate(
            "email_click_rate_90d",
            Ratio(count_events(EMAIL_CLICKED, 90), count_events(EMAIL_OPENED, 90)),
            say("Rate of clicking"),
            say("Links followed per e-mail opened in the last {days} days.", days=90),
            _need(EMAIL_CLICKED, EMAIL_OPENED),
        ),
        define_event_count(
            "unsubscribes_365d",
            "Unsubscribed",
            365,
            say("Unsubscribed in {days} days", days=365),
            say("How often the customer unsubscribed from messages in the last {days} days.", days=365),
        ),
    )


def _define_campaigns() -> tuple[Tag, ...]:
    redeemed = (Condition("name", "=", REDEEMED),)
    return (
        define_tag(
            "first_coupon_days",
            DaysSince("events", "first", redeemed),
            say("Days since the first coupon"),
            say("Days from the first coupon ever redeemed to today."),
            unit="days",
            needs=_need(REDEEMED),
        ),
        define_tag(
            "last_campaign_answered",
            Measure(Aggregate("events", "latest", "campaign_id", redeemed)),
            say("Campaign answered last"),
            say("The campaign of the last redeemed coupon."),
            unit="",
            needs=_need(REDEEMED),
        ),
        define_tag(
            "campaigns_answered_365d",
            Measure(Aggregate("events", "count_distinct", "campaign_id", redeemed, Window(365))),
            say("Campaigns answered in {days} days", days=365),
            say("Different campaigns with a redeemed coupon in the last {days} days.", days=365),
            unit="campaigns",
            needs=_need(REDEEMED),
        ),
        _rate(
            "redemption_rate_365d",
            Ratio(count_events(REDEEMED, 365), count_events(SENT, 365)),
            say("Rate of redemption"),
            say("Coupons redeemed per message sent in the last {days} days.", days=365),
            _need(REDEEMED, SENT),
        ),
    )


BROWSING_TAGS: tuple[Tag, ...] = (
    *_define_views(),
    *_define_pages(),
    *_define_carts(),
    *_define_checkouts(),
    *_define_conversion(),
    *_define_visits(),
    *_define_deeds(),
    *_define_email(),
    *_define_campaigns(),
)
"""All tags of browsing and answering, in the order in which people read them."""
