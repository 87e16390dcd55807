"""Step 5 部署: launch a wave of a plan, and record what was decided on it.

Reads ``plans``, ``plan_items``, ``assignments``, ``actions``, ``customers``, ``consents``, ``recommendations``,
``products``, ``tags``, ``events``. Writes ``deliveries`` and ``events`` ('Message Sent'), the store's ledger, and
files under ``outbox/<plan>/`` in the workspace. Launching again after a crash goes on and doubles nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

from aimwell.core.errors import BadInput
from aimwell.core.ids import list_forms
from aimwell.core.money import to_cents
from aimwell.core.steps import Status, StepResult
from aimwell.core.text import Text, say
from aimwell.core.time import find_knowledge_end
from aimwell.deployment.audience import Addressee, Plan, read_consents, read_prior_contacts
from aimwell.deployment.campaign import Campaign, Campaigns
from aimwell.deployment.channels.channel import Channel
from aimwell.deployment.channels.outbox import LAYOUTS, OutboxChannel
from aimwell.deployment.channels.smtp import SmtpChannel
from aimwell.deployment.channels.unready import Unready
from aimwell.deployment.handover import read_source, write_tables
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.ledger_rows import Intended, identify_delivery
from aimwell.deployment.ramp import Pace
from aimwell.deployment.sending import Worked, work
from aimwell.deployment.summary import summarise, title_channel
from aimwell.deployment.timing import Timing, find_detail
from aimwell.deployment.tracking.message import Tracker
from aimwell.deployment.trial import send_seeds
from aimwell.deployment.unsubscribe import require_address
from aimwell.deployment.waves import LoadedWave, WaveComposer, build_composer, load_wave
from aimwell.deployment.ways import build_channels, locate_outbox, open_ledger
from aimwell.engine.audit import name_actor
from aimwell.engine.carried_records import carry_over
from aimwell.engine.erased import load_erased
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
    by: str | None = None,
    clock: Callable[[], float] = time.time,
    only_queue: bool = False,
) -> StepResult:
    """Send the wave ``plan_id`` and return the figures of the ledger.

    ``as_of`` is the business day of the contacts. ``channels`` replaces or adds ways out by name; the others are
    the workspace's mail server and the files under ``outbox/``. ``by`` (who is signed in, unless told) launches. Who
    launches a plan that nobody reviewed approves it as it stands, unless a second person has to; a plan that was
    changed since its review is refused (NotReady), as are a paused (NotAllowed) or closed one (Conflict), a day
    outside the plan's window (BadInput), and a rollout whose pilot is undecided (NotReady) or was a no-go
    (NotAllowed). ``clock`` (seconds since 1970) is the ledger's; a plan whose window does not hold by it is replayed:
    hours, holidays and slots are not kept, for they are long past. ``only_queue``: the worker hands over.
    """
    wave = load_wave(workspace, plan_id)
    plan, addressees = wave.plan, wave.addressees
    _check_day(plan, as_of)
    zone_name = workspace.settings.business.zone
    with workspace.read() as reader:
        consents = read_consents(reader, plan_id, as_of=as_of, zone_name=zone_name)
        prior = read_prior_contacts(reader, as_of=as_of, cap_days=workspace.settings.contact.cap_days)
    ways = build_channels(workspace) | dict(channels or {})
    for name in dict.fromkeys(item.channel for item in addressees):
        if isinstance(way := ways.get(name), Unready):
            raise way.problem
    mail = ways["email"]
    if isinstance(mail, SmtpChannel) and any(item.channel == "email" for item in addressees):
        require_address(mail.server.host)
    campaign = _start_campaign(workspace, plan, by or name_actor())
    own = workspace.settings.contact.channels
    fallbacks = {name: one.fallback for name, one in own.items()}
    instant = datetime.fromtimestamp(clock(), UTC)
    timing = Timing(plan, as_of, instant, zone_name, Pace.from_json(campaign.pace), fallbacks)
    Campaigns(workspace.store).note_audience(plan_id, len(addressees))
    # Before the customers: who watches the seeds can still halt the rest.
    seeds = {} if timing.replayed else send_seeds(workspace, wave, ways)
    ledger = open_ledger(workspace, terms=terms, at_any_hour=timing.replayed, clock=clock)
    ledger.remember_consents(consents)
    carry_over(workspace, as_of)
    ledger.enqueue([_intend(item, timing, prior, ways, wave) for item in addressees])
    composer = build_composer(workspace, wave, track=Tracker.open(workspace).track)
    composer.follower.follow_source(plan_id, find_knowledge_end(as_of, zone_name))
    worked = {} if only_queue else _work_all(ledger, plan_id, ways, composer, progress or _stay_silent)
    with workspace.run("deployment", as_of=as_of, parameters={"plan_id": plan_id}) as run:
        with workspace.store.snapshot() as connection:
            rows = read_source(connection, plan_id, zone_name)
        write_tables(run, rows, zone_name=zone_name)
    summary = describe_wave(workspace, ledger, plan, len(addressees))
    if seeds:
        summary["seeds"] = seeds
    lacks = (*wave.warnings, *_list_lacks(summary, bool(consents), worked))
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
    plan = load_wave(workspace, plan_id, people=False).plan
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
    """Never contact the customer again, on one channel or on all; False when that stood already.

    Who was erased is not written down again: nobody can be contacted under that number.
    """
    erased = load_erased(workspace, anew=True)
    kept = [form for form in list_forms(customer_id) if not erased.tell(form, "record")]
    return suppress_customers(workspace.store, kept, channel=channel, source=source)


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


def _start_campaign(workspace: Workspace, plan: Plan, by: str) -> Campaign:
    campaigns = Campaigns(workspace.store)
    campaign = campaigns.open(plan.wave)
    second_person = workspace.settings.contact.second_person
    if campaign.state == "draft" and campaign.approved_by is None and not second_person:
        campaigns.approve(plan.wave, by="launch")
    campaign = campaigns.launch(plan.wave, by=by, second_person=second_person)
    details = {"fingerprint": plan.wave.fingerprint}
    workspace.store.audit("campaign.launched", plan.wave.plan_id, details, actor=by)
    return campaign


def _intend(
    item: Addressee,
    timing: Timing,
    prior: Mapping[str, int],
    ways: Mapping[str, Channel],
    wave: LoadedWave,
) -> Intended:
    plan_id = timing.plan.wave.plan_id
    span = timing.find_span(item, identify_delivery(plan_id, item.customer_id, item.action_id))
    others = timing.fallbacks.get(item.channel, ())
    content_id, detail = wave.find_content(item)
    return Intended(
        plan_id=plan_id,
        customer_id=item.customer_id,
        action_id=item.action_id,
        channel=item.channel,
        contact_on=span.contact_on,
        unit_cost_cents=to_cents(item.unit_cost),
        reachable=item.recipient is not None,
        prior_contacts=prior.get(item.customer_id, 0),
        blocked=None if item.channel in ways or others else "no_channel",
        priority=item.value_cents,
        content_id=content_id,
        not_before_ms=span.not_before_ms,
        expires_ms=span.expires_ms,
        fallback=tuple(way for way in others if way in item.recipients and way in ways),
        detail={**detail, **find_detail(item)},
        zone=item.zone,
    )


def _work_all(
    ledger: Ledger,
    plan_id: str,
    ways: Mapping[str, Channel],
    composer: WaveComposer,
    progress: Progress,
) -> dict[str, Worked]:
    done: dict[str, Worked] = {}
    for name in sorted({channel for channel, _, _ in ledger.count_states(plan_id)} - set(ways)):
        ledger.skip_channel(name, plan_id)
    # Again for channels to which something moved on from another one meanwhile.
    for turn in range(len(ways) + 1):
        planned = {
            channel for channel, state, _ in ledger.count_states(plan_id) if not turn or state == "queued"
        }
        names = sorted(name for name in planned & set(ways) if name not in done or done[name].may_go_on)
        handed = 0
        for name in names:
            report = _report_on(name, progress)
            worked = work(
                ledger,
                plan_id=plan_id,
                channel_name=name,
                channel=ways[name],
                compose=composer.compose,
                prepare=composer.prepare,
                report=report,
            )
            handed += worked.handed
            done[name] = done.get(name, Worked()).add(worked)
        if not handed:
            break
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


def _stay_silent(_: str | Text) -> None:
    return None
