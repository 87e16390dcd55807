"""Settings of the channels that people's hands and telephones are at the end of: ``[sms]`` and ``[desk]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=100)]
ClassName = Annotated[str, Field(min_length=1, max_length=32)]
VisitDays = Annotated[int, Field(ge=1, le=730)]
Hour = Annotated[int, Field(ge=0, le=24)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SmsTemplateSettings(_Section):
    """A template that the provider reviewed, without signature; places are ${name} or {1}."""

    code: Name
    text: Annotated[str, Field(min_length=1, max_length=1000)]
    most: Annotated[int, Field(ge=1, le=200)] = 35
    """Characters that a value may have."""
    links: bool = False
    """Whether a value may hold an address."""


class SmsSettings(_Section):
    """How SMS go out. Password and signing secret come from AIMWELL_SMS_SECRET, never from the file."""

    way: Literal["file", "smpp", "http"] = "file"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 2775
    tls: bool = False
    system_id: Annotated[str, Field(max_length=15)] = ""
    system_type: Annotated[str, Field(max_length=12)] = ""
    source: Annotated[str, Field(max_length=20)] = ""
    """What people see as the sender: a number, or letters where the centre allows them."""
    long: Literal["parts", "payload"] = "parts"
    always_ucs2: bool = False
    decimal_ids: bool = False
    """The centre answers with hexadecimal ids and reports with decimal ones."""
    window: Annotated[int, Field(ge=1, le=200)] = 10
    url: str | None = None
    query_url: str | None = None
    dialect: Literal["plain", "aliyun", "tencent"] = "plain"
    promise: Literal["A", "B", "C"] = "C"
    """A: the provider rejects repeats of an out_id; B: query_url can be asked; C: neither."""
    key_id: str = ""
    app_id: str = ""
    provider_region: str = ""
    signature: str = ""
    """As the provider registered it, without 【】; empty: the business's name."""
    region: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = "CN"
    """Country of numbers that say none."""
    templates: tuple[SmsTemplateSettings, ...] = ()
    codes: dict[
        str,
        Literal["taken", "bad_recipient", "no_balance", "frequency_limit", "throttled", "template_mismatch",
                "provider_blocklist", "rejected", "not_let_in", "temporary_rejection", "unknown"],
    ] = Field(default_factory=dict)  # fmt: skip
    """The provider's own codes → what they mean."""
    start_permits: bool = False
    """Whether a reply such as START is a consent; else somebody looks at it."""


class DeskSettings(_Section):
    """How the call centre and account managers work."""

    open_from: Hour = 9
    open_until: Hour = 21
    """In which hours of the business's day customers are called."""
    minutes_a_day: Annotated[float, Field(ge=0, le=100_000)] | None = None
    """What all agents together may talk on a day; empty: no limit."""
    lease_minutes: Annotated[int, Field(ge=1, le=480)] = 30
    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    """How often a customer who does not answer is called."""
    retry_hours: Annotated[int, Field(ge=1, le=240)] = 4
    visits_a_day: Annotated[int, Field(ge=1, le=50)] = 8
    """Of each account manager."""
    visit_every_days: dict[ClassName, VisitDays] = Field(default_factory=lambda: {"A": 14, "B": 30, "C": 90})
    """Class of customers → at most so many days between two visits."""
    manager_column: Name = "account_manager"
    class_column: Name = "customer_class"
    value_column: Name = "value"
    """Attributes of customers that say whose customer it is, of which class, and worth how much in a year."""
