"""Step 5 部署: launch a wave of a plan, and record what was decided on it.

Reads ``plans``, ``plan_items``, ``assignments``, ``actions``, ``customers``, ``consents``, ``recommendations``,
``products``, ``tags``, ``events``. Writes ``deliveries`` and ``events`` ('Message Sent'), the store's ledger, and
files under ``outbox/<plan>/`` in the workspace. Launching again after a crash goes on and doubles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from aimwell.core.errors import BadInput
from aimwell.core.money import to_cents
from aimwell.core.steps import Status, StepResult
from aimwell.core.text import Language, Text, say
from aimwell.deployment.audience import (
    Addressee,
    Plan,
    read_addressees,
    read_consents,
    read_plan,
    read_prior_contacts,
)
from aimwell.deployment.campaign import Campaign, Campaigns
from aimwell.deployment.channels.channel import Channel
from aimwell.deployment.channels.outbox import LAYOUTS, OutboxChannel
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.composing import Composer, choose_language, index_addressees
from aimwell.deployment.content import Content, check_content, load_all
from aimwell.deployment.handover import write_tables
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.ledger_rows import Intended
from aimwell.deployment.policy import ContactRules
from aimwell.deployment.sending import Worked, work
from aimwell.deployment.summary import summarise, title_channel
from aimwell.deployment.unsubscribe import load_secret, require_address
from aimwell.engine.carried_suppressions import carry_suppressions
from aimwell.engine.permissions import suppress_customers
from aimwell.engine.workspace import Workspace

Progress: TypeAlias = Callable[[str | Text], None]
_REPORT_EVERY = 200


def launch(
    workspace: Workspace,
    *,
    plan_id: str,
    as_of: date,
    progress: Progress | None = None,
    channels: Mapping[str, Channel] | None = None,
    terms: Terms | None = None,
) -> StepResult:
    """Send the wave ``plan_id`` and return the figures of the ledger.

    ``as_of`` is the business day of the contacts. ``channels`` replaces or adds ways out by name; the others are
    the workspace's mail server and the files under ``outbox/``. Who launches a plan that nobody reviewed approves
    it as it stands; a plan that was changed since its review is refused (NotReady), as are a paused (NotAllowed) or
    closed one (Conflict), a day outside the plan's window (BadInput), and a rollout whose pilot is undecided
    (NotReady) or was a no-go (NotAllowed).
    """
    contents = load_all(workspace.path / "templates")
    warnings = check_content(contents)
    with workspace.read() as reader:
        plan = read_plan(reader, plan_id, content=_list_sources(contents))
        _check_day(plan, as_of)
        addressees = read_addressees(reader, plan_id)
        zone_name = workspace.settings.business.zone
        consents = read_consents(reader, plan_id, as_of=as_of, zone_name=zone_name)
        prior = read_prior_contacts(reader, as_of=as_of, cap_days=workspace.settings.contact.cap_days)
    ways = build_channels(workspace, plan_id) | dict(channels or {})
    mail = ways["email"]
    if isinstance(mail, SmtpChannel) and any(item.channel == "email" for item in addressees):
        require_address(mail.server.host)
    _start_campaign(workspace, plan)
    ledger = open_ledger(workspace, terms=terms)
    ledger.remember_consents(consents)
    carry_suppressions(workspace)
    ledger.enqueue([_intend(item, plan_id, as_of, prior, ways) for item in addressees])
    composer = _build_composer(workspace, plan, contents, addressees)
    worked = _work_all(ledger, plan_id, ways, composer, progress or _stay_silent)
    with workspace.run("deployment", as_of=as_of, parameters={"plan_id": plan_id}) as run:
        write_tables(run, ledger.read_rows(), zone_name=zone_name)
    summary = describe_wave(workspace, ledger, plan, len(addressees))
    lacks = (*warnings, *_list_lacks(summary, bool(consents), worked))
    return StepResult("deployment", _judge(summary["states"]), summary, lacks)


def decide(workspace: Workspace, plan_id: str, evaluation_summary: Mapping[str, Any]) -> Campaign:
    """Record the go or no-go of ``evaluation_summary["decision"]`` on a launched wave.

    A pilot that got a go opens the rollout of its goal and round; a rollout is closed.
    """
    decision = dict(evaluation_summary.get("decision") or {})
    go = bool(decision.get("go", False))
    campaign = Campaigns(workspace.store).decide(plan_id, go=go, decision=decision)
    workspace.store.audit("campaign.decided", plan_id, {"go": go})
    return campaign


def approve(workspace: Workspace, plan_id: str, *, by: str) -> Campaign:
    """Approve the plan as it stands now: items, arms, actions and content. Any later change voids it."""
    contents = load_all(workspace.path / "templates")
    check_content(contents)
    with workspace.read() as reader:
        plan = read_plan(reader, plan_id, content=_list_sources(contents))
    campaign = Campaigns(workspace.store).approve(plan.wave, by=by)
    workspace.store.audit("campaign.approved", plan_id, {"fingerprint": plan.wave.fingerprint}, actor=by)
    return campaign


def stop(workspace: Workspace, plan_id: str) -> int:
    """Stop a campaign for good; returns how many waiting deliveries were skipped."""
    Campaigns(workspace.store).stop(plan_id)
    skipped = open_ledger(workspace).stop(plan_id)
    workspace.store.audit("campaign.stopped", plan_id, {"skipped": skipped})
    return skipped


def suppress(workspace: Workspace, customer_id: str, *, channel: str = "all", source: str = "cli") -> bool:
    """Never contact the customer again, on one channel or on all; False when that stood already."""
    return suppress_customers(workspace.store, [customer_id], channel=channel, source=source)


def open_ledger(workspace: Workspace, *, terms: Terms | None = None) -> Ledger:
    """The workspace's ledger under its contact rules."""
    contact = workspace.settings.contact
    return Ledger(workspace.store, rules=ContactRules(contact.cap, contact.cap_days), terms=terms)


def build_channels(workspace: Workspace, plan_id: str) -> dict[str, Channel]:
    """The workspace's own ways out: its mail server, and one file for each of SMS, calls and direct mail."""
    smtp = workspace.settings.smtp
    secret = workspace.settings.smtp_password
    password = secret.get_secret_value() if secret is not None else None
    server = Server(
        smtp.host, smtp.port, smtp.sender, starttls=smtp.starttls, user=smtp.user, password=password
    )
    folder = locate_outbox(workspace, plan_id)
    files: dict[str, Channel] = {name: OutboxChannel(folder, layout) for name, layout in LAYOUTS.items()}
    return {"email": SmtpChannel(server), **files}


def locate_outbox(workspace: Workspace, plan_id: str) -> Path:
    """The folder of a plan's files; an id that is no file name is escaped."""
    return workspace.path / "outbox" / quote(plan_id, safe="").replace(".", "%2E")


def describe_wave(workspace: Workspace, ledger: Ledger, plan: Plan, audience: int) -> dict[str, Any]:
    """The step's summary from the ledger and the outbox."""
    plan_id = plan.wave.plan_id
    folder = locate_outbox(workspace, plan_id)
    outbox = [
        {"channel": name, "file": f"{folder.relative_to(workspace.path).as_posix()}/{layout.file_name}",
         "rows": OutboxChannel(folder, layout).count_rows()}
        for name, layout in LAYOUTS.items()
        if (folder / layout.file_name).exists()
    ]  # fmt: skip
    counts = ledger.count_states(plan_id)
    return summarise(counts, plan_id=plan_id, wave=plan.wave.wave, audience=audience, outbox=outbox)


def _check_day(plan: Plan, as_of: date) -> None:
    end = plan.as_of + timedelta(days=plan.days)
    if not plan.as_of <= as_of < end:
        raise BadInput(
            "deployment.outside_window",
            say(
                "{day} lies outside the window of the plan, which runs from {start} to before {end}.",
                day=as_of.isoformat(),
                start=plan.as_of.isoformat(),
                end=end.isoformat(),
            ),
            remedy=say("Launch within the window: what is sent outside it cannot be measured."),
            where={"value": as_of.isoformat()},
        )


def _start_campaign(workspace: Workspace, plan: Plan) -> None:
    campaigns = Campaigns(workspace.store)
    campaign = campaigns.open(plan.wave)
    if campaign.state == "draft" and campaign.approved_by is None:
        campaigns.approve(plan.wave, by="launch")
    campaigns.launch(plan.wave)
    workspace.store.audit("campaign.launched", plan.wave.plan_id, {"fingerprint": plan.wave.fingerprint})


def _intend(
    item: Addressee, plan_id: str, as_of: date, prior: Mapping[str, int], ways: Mapping[str, Channel]
) -> Intended:
    return Intended(
        plan_id=plan_id,
        customer_id=item.customer_id,
        action_id=item.action_id,
        channel=item.channel,
        contact_on=as_of,
        unit_cost_cents=to_cents(item.unit_cost),
        reachable=item.recipient is not None,
        prior_contacts=prior.get(item.customer_id, 0),
        blocked=None if item.channel in ways else "no_channel",
    )


def _build_composer(
    workspace: Workspace, plan: Plan, contents: Mapping[Language, Content], addressees: Sequence[Addressee]
) -> Composer:
    business = workspace.settings.business
    return Composer(
        plan=plan,
        business=business.name,
        language=choose_language(zone_name=business.zone, currency=business.currency),
        contents=contents,
        secret=load_secret(workspace.path),
        addressees=index_addressees(plan.wave.plan_id, addressees),
    )


def _work_all(
    ledger: Ledger, plan_id: str, ways: Mapping[str, Channel], composer: Composer, progress: Progress
) -> dict[str, Worked]:
    planned = sorted({channel for channel, _, _ in ledger.count_states(plan_id)} & set(ways))
    done = {}
    for name in planned:
        report = _report_on(name, progress)
        done[name] = work(
            ledger,
            plan_id=plan_id,
            channel_name=name,
            channel=ways[name],
            compose=composer.compose,
            report=report,
        )
    return done


def _report_on(name: str, progress: Progress) -> Callable[[int], None]:
    shown = 0

    def report(handed: int) -> None:
        nonlocal shown
        if handed - shown >= _REPORT_EVERY:
            shown = handed
            progress(say("{channel}: {count} handed over", channel=title_channel(name), count=handed))

    return report


def _list_lacks(summary: Mapping[str, Any], consents: bool, worked: Mapping[str, Worked]) -> list[Text]:
    lacks = []
    if summary["audience"] == 0:
        lacks.append(say("The plan treats nobody: no delivery was made."))
    if not consents and summary["audience"]:
        lacks.append(
            say("No marketing consents are known: nobody was contacted. Load consents and launch again.")
        )
    for name, result in worked.items():
        if result.unreachable:
            lacks.append(
                say(
                    "{channel}: the provider could not be reached; what is left waits. Launch again.",
                    channel=title_channel(name),
                )
            )
        if result.held is not None:
            lacks.append(say("The campaign was paused or stopped meanwhile."))
    if summary["states"]["queued"] and not lacks:
        lacks.append(say("Some deliveries wait for another try. Launch again later."))
    if summary["states"]["in_doubt"]:
        count = summary["states"]["in_doubt"]
        lacks.append(
            say("{count} deliveries are in doubt: they may have arrived, and are not repeated.", count=count)
        )
    return lacks


def _judge(states: Mapping[str, int]) -> Status:
    if states["queued"] or states["in_doubt"]:
        return "partial"
    return "done" if states["sent"] else "skipped"


def _list_sources(contents: Mapping[Language, Content]) -> dict[str, str]:
    return {
        f"{content.language}/{part}": text
        for content in contents.values()
        for part, text in content.sources.items()
    }


def _stay_silent(_: str | Text) -> None:
    return None
