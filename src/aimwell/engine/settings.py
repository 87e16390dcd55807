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


class ContactSettings(_Section):
    """How often people are contacted, and who is kept out in order to measure."""

    cap: Annotated[int, Field(ge=1)] = 2
    cap_days: Annotated[int, Field(ge=1)] = 28
    holdout_share: Share = 0.1
    control_share: Share = 0.25
    exploration_share: Share = 0.1


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
    events: EventSettings = EventSettings()
    seed: Annotated[int, Field(ge=0)] = 42
    smtp_password: SecretStr | None = None

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
    return check_settings(values, file.name)


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
            where={"file": source, "column": key, "value": str(first.get("input"))[:100]},
        ) from error


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
        case "string_pattern_mismatch" if name == "id":
            return say("use letters, digits, - and _")
        case "string_pattern_mismatch":
            return say("write an amount of memory such as 2GB or 500MB")
        case "literal_error":
            return say("it must be one of: {values}", values=str(context["expected"]))
        case "value_error" if name == "zone":
            return say("no such time zone is known; use a name such as Asia/Shanghai or Europe/Berlin")
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
    values = settings.model_dump(mode="json", exclude={"smtp_password"})
    lines += [f"seed = {values.pop('seed')}", ""]
    channels, limits = values.pop("channels"), values["strategy"].pop("limits")
    notes = {
        "business": "margin_rate: share of revenue that is margin, where a product's own cost is unknown",
        "engine": "name: duckdb, spark or clickhouse; spark_master: where Spark runs, if not on this machine",
        "contact": "at most cap contacts in cap_days days; holdout: never contacted; control: of each plan",
        "strategy": "budget of a wave; call_minutes: capacity of the call centre; pilot_share: of the audience;\n"
        "# pressure_cost: what each contact of the last days takes off the next; more limits: [[strategy.limits]]",
        "events": "consumer_hours: a reader of the stream that is silent for so long keeps no event waiting",
        "smtp": "the password comes from the environment: AIMWELL_SMTP_PASSWORD",
    }
    for section, content in values.items():
        lines += [f"# {notes[section]}"] if section in notes else []
        lines += _render_section(section, content)
    for name, content in channels.items():
        lines += _render_section(f"channels.{name}", content)
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
