"""Makes a message measurable before it goes out: its links lead through ours, it carries a pixel and a hidden link.

Where the links lead is in the store before the message is given back. Writes the store's ``tracked_links``.
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
from aimwell.engine.secret import load_secret
from aimwell.engine.settings import TrackingSettings
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace

_MOST_REMEMBERED = 50_000
"""Links that need not be looked for in the store again."""


class Tracker:
    """Makes messages measurable, by the workspace's settings. One serves a whole wave, from any thread."""

    def __init__(self, store: Store, signer: Signer, settings: TrackingSettings) -> None:
        self._store = store
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
            settings = settings.model_copy(update={"clicks": False, "opens": False})
        with workspace.store.snapshot() as connection:
            keys = load_keyring(connection, load_secret(workspace.path))
        return cls(workspace.store, Signer(keys, find_base(address)), settings)

    def track(self, message: Message) -> Message:
        """An e-mail with wrapped links in both parts; what has no HTML part is given back as it is."""
        if not message.html:
            return message
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

    def track_text(self, message: Message) -> Message:
        """A message without HTML, its links wrapped; a link takes about 80 signs, for which an SMS needs room."""
        wrapped = wrap_text(message.text, self._signer, message.delivery_id)
        self._remember(wrapped)
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
