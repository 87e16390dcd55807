"""Makes a message measurable before it goes out: its links lead through ours, it carries a pixel and a hidden link.

Where the links lead is in the store before the message is given back. Writes the store's ``tracked_links`` and
``short_links``.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

from aimwell.deployment.channels.channel import Message
from aimwell.deployment.tracking.address import ADDRESS_VARIABLE, find_base
from aimwell.deployment.tracking.hits import remember_links
from aimwell.deployment.tracking.keys import load_keyring
from aimwell.deployment.tracking.links import (
    Signer,
    Wrapped,
    append_to_body,
    make_pixel,
    make_trap,
    wrap_html,
    wrap_text,
)
from aimwell.deployment.tracking.short import ShortLink, ShortSigner, keep_short_links
from aimwell.engine.erased import LoadErased, ask_workspace, begin_knowing
from aimwell.engine.secret import load_secret
from aimwell.engine.settings import TrackingSettings
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace

_DAY_MS = 86_400_000
_MOST_REMEMBERED = 50_000
"""Links that need not be looked for in the store again."""


class Tracker:
    """Makes messages measurable, by the workspace's settings. One serves a whole wave, from any thread."""

    def __init__(
        self, store: Store, signer: Signer, settings: TrackingSettings, load_erased: LoadErased | None
    ) -> None:
        self._store = store
        self._load_erased = load_erased
        self._signer = signer
        self._settings = settings
        self._stored: set[str] = set()

    @classmethod
    def open(cls, workspace: Workspace, *, address: str | None = None) -> Tracker:
        """The tracker of a workspace. ``address``: where the service is reached, AIMWELL_PUBLIC_URL when omitted.

        Where neither is known nothing is changed: links would lead nowhere.
        """
        settings = workspace.settings.tracking
        if not address and not os.environ.get(ADDRESS_VARIABLE):
            settings = settings.model_copy(update={"clicks": False, "opens": False, "sms_clicks": False})
        with workspace.store.snapshot() as connection:
            keys = load_keyring(connection, load_secret(workspace.path))
        return cls(workspace.store, Signer(keys, find_base(address)), settings, ask_workspace(workspace))

    def track(self, message: Message, channel: str = "email") -> Message:
        """An e-mail with wrapped links in both parts, an SMS with short ones; anything else as it is."""
        if not message.html:
            wanted = channel == "sms" and self._settings.sms_clicks
            return self._shorten(message) if wanted else message
        page, text = message.html, message.text
        if self._settings.clicks:
            leave = [message.unsubscribe_url] if message.unsubscribe_url else []
            wrapped = wrap_html(page, self._signer, message.delivery_id, leave=leave)
            plain = wrap_text(text, self._signer, message.delivery_id, leave=leave, first=wrapped.places)
            self._remember(wrapped, plain)
            page, text = wrapped.body, plain.body
        if self._settings.trap and self._settings.clicks:
            page = append_to_body(page, make_trap(self._signer, message.delivery_id))
        if self._settings.opens:
            page = append_to_body(page, make_pixel(self._signer, message.delivery_id))
        return replace(message, html=page, text=text)

    def _shorten(self, message: Message) -> Message:
        signer = ShortSigner(self._signer.keys, self._signer.base)
        wrapped = wrap_text(message.text, signer, message.delivery_id)
        if not wrapped.links:
            return message
        self._remember(wrapped)
        links = [
            ShortLink(link.rpartition("/")[2], message.delivery_id, message.customer_id, link_id, place)
            for place, (link, link_id) in enumerate(wrapped.links)
        ]
        now_ms = int(time.time() * 1000)
        expires_ms = now_ms + self._settings.sms_link_days * _DAY_MS
        with begin_knowing(self._store.begin, self._load_erased) as (connection, erased):
            # Who was erased since the delivery was reserved gets no message: the ledger does not hand it over.
            if not erased.tell(message.customer_id, "record"):
                keep_short_links(connection, links, now_ms=now_ms, expires_ms=expires_ms)
        return replace(message, text=wrapped.body)

    def _remember(self, *wrapped: Wrapped) -> None:
        targets = {name: target for one in wrapped for name, target in one.targets.items()}
        fresh = {name: target for name, target in targets.items() if name not in self._stored}
        if fresh:
            with self._store.begin() as connection:
                remember_links(connection, fresh, int(time.time() * 1000))
            if len(self._stored) > _MOST_REMEMBERED:
                self._stored.clear()
            self._stored |= set(fresh)
