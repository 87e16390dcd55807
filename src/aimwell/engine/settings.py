"""A workspace's settings: ``aimwell.toml``, overridden by environment variables such as AIMWELL_ENGINE__THREADS."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say
from aimwell.core.time import zone
from aimwell.engine.channel_settings import DeskSettings, SmsSettings
from aimwell.engine.store_engine import has_password, hide_password, read_address
from aimwell.engine.wire_settings import (
    WIRE_NOTES,
    WIRE_SECRETS,
    MailSettings,
    PushSettings,
    RobotName,
    RobotSettings,
    WebhookSettings,
    WebSettings,
)

FILE_NAME = "aimwell.toml"
Share = Annotated[float, Field(ge=0, lt=1)]
Cost = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=4)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BusinessSettings(_Section):
    """Whose marketing it is."""

    name: Annotated[str, Field(min_length=1, max_length=100)] = "Aimwell"
    zone: str = "Asia/Shanghai"
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "CNY"
    margin_rate: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Share of revenue that is margin, where a product's own cost is unknown."""

    @field_validator("zone")
    @classmethod
    def _check_zone(cls, name: str) -> str:
        try:
            zone(name)
        except BadInput as error:
            raise ValueError(error.render()) from error
        return name


class EngineSettings(_Section):
    """What answers the queries of goals and analysis, and what queries may use of the machine."""

    name: Literal["duckdb", "spark", "clickhouse"] = "duckdb"
    spark_master: str | None = None
    """Where Spark runs, such as spark://host:7077 or yarn; None: on this machine."""
    memory_limit: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s?(MB|GB|MiB|GiB)$")] = "2GB"
    threads: Annotated[int, Field(ge=1, le=256)] = 2

    @property
    def memory_bytes(self) -> int:
        """``memory_limit`` in bytes."""
        number, unit = re.fullmatch(r"([\d.]+)\s?(\w+)", self.memory_limit).groups()  # type: ignore[union-attr]
        return int(float(number) * {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}[unit])


class ChannelSettings(_Section):
    """What one contact through a channel costs."""

    unit_cost: Cost
    minutes: Annotated[float, Field(ge=0)] = 0.0
    """Call-centre minutes."""


def _default_channels() -> dict[str, ChannelSettings]:
    return {
        "email": ChannelSettings(unit_cost=Decimal("0.01")),
        "sms": ChannelSettings(unit_cost=Decimal("0.05")),
        "call": ChannelSettings(unit_cost=Decimal("1.50"), minutes=4.0),
        "mail": ChannelSettings(unit_cost=Decimal("0.60")),
    }


ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class ChannelContactSettings(_Section):
    """What holds for contacts through one channel beside what holds for all: ``[contact.channels.sms]``."""

    cap: Annotated[int, Field(ge=1)] | None = None
    days: Annotated[int, Field(ge=1)] | None = None
    """In so many days; empty: ``contact.cap_days``."""
    quiet_from: ClockTime | None = None
    quiet_until: ClockTime | None = None
    """Quiet hours of its own; empty: those of ``contact``, where it is among ``contact.quiet_channels``."""
    fallback: tuple[str, ...] = ()
    """Channels that are tried next, in this order, where this one fails or has no address."""
    seeds: tuple[Annotated[str, Field(min_length=1, max_length=254)], ...] = ()
    """Addresses of colleagues who get each version of a campaign's messages as it goes out."""


class ContactSettings(_Section):
    """How often and when people are contacted, and who is kept out in order to measure."""

    cap: Annotated[int, Field(ge=1)] = 2
    cap_days: Annotated[int, Field(ge=1)] = 28
    holdout_share: Share = 0.1
    control_share: Share = 0.25
    exploration_share: Share = 0.1
    quiet_from: ClockTime = "21:00"
    quiet_until: ClockTime = "09:00"
    quiet_channels: tuple[str, ...] = ("sms", "call", "push", "wechat")
    """Channels that ring: they keep quiet hours, in the customer's zone."""
    quiet_spread: Annotated[int, Field(ge=0, le=12 * 60)] = 60
    """Minutes over which what waited is spread afterwards."""
    holidays: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...] = ("CN",)
    """Countries whose public holidays count."""
    send_on: Literal["every_day", "not_on_holidays", "working_days"] = "every_day"
    second_person: bool = False
    """Whether somebody else than who starts a campaign must have approved it."""
    channels: dict[str, ChannelContactSettings] = Field(default_factory=dict)


Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class LimitSettings(_Section):
    """One limit of every plan, beside budget, call minutes and stock: ``[[strategy.limits]]``.

    Exactly one of ``at_most`` and ``at_least`` is given. What counts are contacts by ``channel``, ``offer``,
    ``action`` and ``slot`` (all of those that are given) of customers with ``where`` and in ``segment``.
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{1,64}$")]
    title: Name | None = None
    unit: Literal["money", "minutes", "contacts", "percent"] = "money"
    """``percent``: of all whom the actions reach, so many are of ``where`` and ``segment``."""
    at_most: Amount | None = None
    at_least: Amount | None = None
    hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The amount is for one hour, and messages go out for so many hours."""
    channel: Name | None = None
    offer: Name | None = None
    action: Name | None = None
    slot: Name | None = None
    segment: Name | None = None
    """A saved segment, by its name."""
    where: dict[str, str | bool | int | float | tuple[str | bool | int | float, ...]] = Field(
        default_factory=dict
    )
    """Tag, or ``customers.`` and a column → the value, or several, that count."""


class StrategySettings(_Section):
    """What a wave may spend, and what else it keeps to."""

    budget: Cost = Decimal("1500")
    call_minutes: Annotated[float, Field(ge=0)] = 600.0
    pilot_share: Share = 0.5
    caution: Annotated[float, Field(ge=0, le=3)] = 0.0
    """Standard errors that are taken off an effect before it competes (0: expected profit)."""
    exploration: Literal["even", "thompson"] = "even"
    """How the explored share draws among near-best actions: evenly, or each as often as it may be the best."""
    personalising: Literal["believed", "proven"] = "believed"
    """Whose effects a plan uses: each customer's as believed, or, until held-out answers prove that customers differ,
    each action's mean effect for everybody."""
    pressure_cost: Cost = Decimal(0)
    """Money taken off each action of a customer for every contact in the last ``contact.cap_days`` days."""
    limits: tuple[LimitSettings, ...] = ()


class SmtpSettings(_Section):
    """The mail server; the password comes from AIMWELL_SMTP_PASSWORD, never from the file."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 2525
    sender: str = "Aimwell <noreply@example.com>"
    starttls: bool = False
    user: str | None = None


class EventSettings(_Section):
    """How long newly arrived events wait for those who read them as a stream."""

    consumer_hours: Annotated[float, Field(gt=0, le=24 * 365)] = 24.0
    """Whoever was not heard of for so long keeps no event waiting; coming again, it begins anew from the files."""


class StoreSettings(_Section):
    """Where the store is; the password comes from AIMWELL_STORE_PASSWORD or ~/.pgpass, never from the file."""

    url: str | None = None
    """Of a PostgreSQL database, such as postgresql://aimwell@host/aimwell; None: a file in the workspace's folder."""
    schema_name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] | None = None
    """The schema of that database in which the tables stand, so that several workspaces can share it."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is not None:
            read_address(url)
        return url


class LogSettings(_Section):
    """What the log of service and worker looks like (``core.logs``)."""

    format: Literal["auto", "json", "console"] = "auto"
    """auto: for people on a terminal, else one JSON object a line."""
    level: Literal["debug", "info", "warning", "error"] = "info"


Days = Annotated[int, Field(ge=1, le=36_500)]


class RetentionSettings(_Section):
    """For how many days the store keeps what nothing needs any more (``loop.retention``)."""

    run_days: Days = 400
    """Runs that ended: thirteen months, so that last year's figures can still be traced. Those a file rests on stay."""
    live_days: Days = 60
    """Live decisions of closed days: they stand in the warehouse; longer where the contact cap looks further back."""
    change_days: Days = 30
    """Entries into live segments and exits, for those who follow them."""
    journey_days: Days = 400
    """What happened in journeys that are over."""
    message_days: Days = 180
    """Messages of providers that were dealt with, and in-app messages that are over: reports come within days."""
    task_days: Days = 400
    """Calls that are done, with their attempts: their outcomes stand in the warehouse."""


class TopicSettings(_Section):
    """What a topic is called on the preference page."""

    en: Name
    zh: Name


class TrackingSettings(_Section):
    """What is measured of messages, and what customers may choose for themselves."""

    clicks: bool = True
    """Links of e-mails lead through a signed link of ours."""
    opens: bool = True
    """E-mails carry a picture of one point."""
    trap: bool = True
    """E-mails carry a hidden link that only machines follow."""
    click_parameter: Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{0,32}$")] = "aw"
    """Added to the address that a click leads to, so that what happens there joins the delivery; empty: nothing is."""
    sms_clicks: bool = False
    """Links of SMS lead through a short link of ours; providers that review templates must allow links in a place."""
    sms_link_days: Annotated[int, Field(ge=7, le=3650)] = 180
    """How long such a link leads on."""
    hit_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """How long single opens and clicks are kept in the store."""
    key_days: Annotated[int, Field(ge=60, le=3650)] = 400
    """How long links that were signed with an older key still work."""
    topics: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{1,64}$")], TopicSettings] = Field(
        default_factory=dict
    )
    """What customers may refuse for each channel by itself, beside all marketing."""


_SMS_SECRETS = ("sms_secret", "sms_hook_secret")


class Settings(BaseSettings):
    """All settings of a workspace."""

    model_config = SettingsConfigDict(
        env_prefix="AIMWELL_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    business: BusinessSettings = BusinessSettings()
    engine: EngineSettings = EngineSettings()
    channels: dict[str, ChannelSettings] = Field(default_factory=_default_channels)
    contact: ContactSettings = ContactSettings()
    strategy: StrategySettings = StrategySettings()
    smtp: SmtpSettings = SmtpSettings()
    mail: MailSettings = MailSettings()
    web: WebSettings = WebSettings()
    webhook: WebhookSettings = WebhookSettings()
    push: PushSettings = PushSettings()
    robots: dict[RobotName, RobotSettings] = Field(default_factory=dict)
    sms: SmsSettings = SmsSettings()
    desk: DeskSettings = DeskSettings()
    events: EventSettings = EventSettings()
    tracking: TrackingSettings = TrackingSettings()
    store: StoreSettings = StoreSettings()
    logs: LogSettings = LogSettings()
    retention: RetentionSettings = RetentionSettings()
    seed: Annotated[int, Field(ge=0)] = 42
    smtp_password: SecretStr | None = None
    dkim_key: SecretStr | None = None
    webhook_secret: SecretStr | None = None
    push_key: SecretStr | None = None
    sms_secret: SecretStr | None = None
    sms_hook_secret: SecretStr | None = None
    store_password: SecretStr | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        return env_settings, init_settings


def load_settings(file: Path) -> Settings:
    """Read ``file``; BadInput names the file, the key and the value that does not fit."""
    try:
        values: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(
            "engine.settings_unreadable",
            say("The settings file {file} cannot be read: {problem}.", file=file.name, problem=str(error)),
            remedy=say("Correct the line, or start from the file that aimwell init writes."),
            where={"file": str(file)},
        ) from error
    _refuse_password(values, file)
    return check_settings(values, file.name)


def _refuse_password(values: dict[str, Any], file: Path) -> None:
    """Files of settings are copied, shown and kept in git: a password has no place there."""
    store = values.get("store")
    url = store.get("url") if isinstance(store, dict) else None
    if "store_password" in values or (isinstance(url, str) and has_password(url)):
        raise BadInput(
            "engine.store_password_in_file",
            say("A password of the store's database stands in {file}.", file=file.name),
            remedy=say(
                "Write [store] url without it, as postgresql://user@host/database, and give the password in the "
                "environment variable AIMWELL_STORE_PASSWORD or in ~/.pgpass."
            ),
            where={"file": str(file), "column": "store.url"},
        )


def check_settings(values: dict[str, Any], source: str) -> Settings:
    """``values`` as settings; BadInput when one does not fit."""
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            "engine.settings_invalid",
            say(
                "In {file} the setting '{key}' does not fit: {problem}.",
                file=source,
                key=key,
                problem=_explain_problem(first["type"], str(first["loc"][-1]), first.get("ctx", {})),
            ),
            remedy=say("Correct the value, or remove the line to use the default."),
            where={"file": source, "column": key, "value": _show_value(key, first.get("input"))},
        ) from error


def _show_value(key: str, value: object) -> str:
    shown = hide_password(str(value)) if key.startswith("store.url") else str(value)
    return "***" if "password" in key else shown[:100]


def _explain_problem(kind: str, name: str, context: Mapping[str, Any]) -> Text:
    """The library's words are English and name its own types; these are for people."""
    match kind:
        case "greater_than_equal":
            return say("it must be at least {limit}", limit=str(context["ge"]))
        case "greater_than":
            return say("it must be more than {limit}", limit=str(context["gt"]))
        case "less_than_equal":
            return say("it must be at most {limit}", limit=str(context["le"]))
        case "less_than":
            return say("it must be less than {limit}", limit=str(context["lt"]))
        case "extra_forbidden":
            return say("there is no such setting")
        case "missing":
            return say("it is needed")
        case "string_pattern_mismatch" if name == "currency":
            return say("a currency has three capital letters, such as EUR or CNY")
        case "string_pattern_mismatch" if name in ("quiet_from", "quiet_until"):
            return say("write a time of day such as 21:00")
        case "string_pattern_mismatch" if name in ("id", "click_parameter", "[key]", "schema_name"):
            return say("use letters, digits, - and _")
        case "string_pattern_mismatch" if name == "memory_limit":
            return say("write an amount of memory such as 2GB or 500MB")
        case "string_pattern_mismatch":
            return say("it is not written in the form that is needed here")
        case "literal_error":
            return say("it must be one of: {values}", values=str(context["expected"]))
        case "value_error" if name == "zone":
            return say("no such time zone is known; use a name such as Asia/Shanghai or Europe/Berlin")
        case "value_error" if name == "url":
            return say("write it as postgresql://user@host/database")
        case _ if kind.startswith(("int", "float", "decimal", "finite")):
            return say("it must be a number of the right kind")
        case _ if kind.startswith("bool"):
            return say("it must be true or false")
        case _ if kind.startswith("string"):
            return say("it must be text of a fitting length")
    return say("a value of another kind is needed here")


def write_settings(settings: Settings, file: Path) -> None:
    """Write ``settings`` as TOML with a word on each section. Secrets are left out."""
    lines = [
        "# Settings of an Aimwell workspace. Environment variables such as AIMWELL_ENGINE__THREADS win.",
        "",
    ]
    values = settings.model_dump(
        mode="json", exclude={"smtp_password", "store_password", *_SMS_SECRETS, *WIRE_SECRETS}
    )
    if settings.store.url is not None:
        values["store"]["url"] = hide_password(settings.store.url)
    lines += [f"seed = {values.pop('seed')}", ""]
    channels, limits = values.pop("channels"), values["strategy"].pop("limits")
    contacts = values["contact"].pop("channels")
    notes = {
        "business": "margin_rate: share of revenue that is margin, where a product's own cost is unknown",
        "engine": "name: duckdb, spark or clickhouse; spark_master: where Spark runs, if not on this machine",
        "contact": "at most cap contacts in cap_days days; holdout: never contacted; control: of each plan;\n"
        "# quiet_channels keep quiet in the customer's zone; send_on: every_day, not_on_holidays or working_days;\n"
        "# second_person: whoever starts a campaign cannot have approved it; caps of a channel: [contact.channels.sms]",
        "strategy": "budget of a wave; call_minutes: capacity of the call centre; pilot_share: of the audience;\n"
        "# pressure_cost: what each contact of the last days takes off the next; more limits: [[strategy.limits]]",
        "events": "consumer_hours: a reader of the stream that is silent for so long keeps no event waiting",
        "tracking": "clicks, opens, trap: what is measured in e-mails; click_parameter: joins visits to deliveries;\n"
        "# sms_clicks: short links in SMS, where the provider's templates allow them; sms_link_days: for how long;\n"
        "# hit_days: how long single hits are kept; topics: what customers may refuse by itself",
        "store": "url: of a PostgreSQL database, else a file here; its password: AIMWELL_STORE_PASSWORD or ~/.pgpass",
        "logs": "format: json or console; auto: console on a terminal",
        "retention": "for how many days the store keeps what nothing needs any more",
        "smtp": "the password comes from the environment: AIMWELL_SMTP_PASSWORD",
        **WIRE_NOTES,
        "sms": "way: file, smpp or http; the secret comes from the environment: AIMWELL_SMS_SECRET, and that of\n"
        "# messages from the provider: AIMWELL_SMS_HOOK_SECRET; templates that it reviewed: [[sms.templates]]",
        "desk": "hours in which customers are called; how often account managers visit each class of customers",
    }
    for section, content in values.items():
        lines += [f"# {notes[section]}"] if section in notes else []
        lines += _render_section(section, content)
    for name, content in channels.items():
        lines += _render_section(f"channels.{name}", content)
    for name, content in contacts.items():
        lines += _render_section(f"contact.channels.{name}", content)
    for content in limits:
        lines += ["[[strategy.limits]]", *_render_section("", content)[1:]]
    file.write_text("\n".join(lines), encoding="utf-8")


def _render_section(name: str, content: dict[str, Any]) -> list[str]:
    rows = [f"{key} = {_render_value(value)}" for key, value in content.items() if value is not None]
    return [f"[{name}]", *rows, ""]


def _render_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        pairs = [f"{_render_value(key)} = {_render_value(one)}" for key, one in value.items()]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_render_value, value)) + "]"
    text = str(value)
    escaped = "".join(
        f"\\{char}"
        if char in '"\\'
        else f"\\u{ord(char):04x}"
        if ord(char) < 32 or ord(char) == 127
        else char
        for char in text
    )
    return f'"{escaped}"'
