"""A sending process that a test may kill at any moment: ``python sender.py STORE PORT CLASS OUTBOX [CONNECTIONS]``.

STORE is a SQLite file, or the address of a database.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]

# ruff: noqa: E402 (the paths above must stand first)
from aimwell.deployment.channels.channel import Channel
from aimwell.deployment.channels.outbox import SMS, OutboxChannel
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.policy import ContactRules
from aimwell.deployment.sending import work
from aimwell.engine.store import Store
from tests.deployment.mails import SENDER, compose

TERMS = Terms(lease=1.0, retry=0.0, attempts=50)


def send(store: str, port: int, kind: str, mails: Path, connections: int = 4) -> None:
    """Work on all sources, the most valuable deliveries first, until nothing is left."""
    server = Server("127.0.0.1", port, SENDER)

    def ask(message_id: str) -> bool:
        # The provider's own record: the sink writes each mail before it answers.
        needle = message_id.encode()
        return any(needle in path.read_bytes() for path in mails.glob("*.eml"))

    channel: Channel
    if kind == "A":
        channel = OutboxChannel(mails, SMS)
        channel.window = 10
    else:
        channel = SmtpChannel(server, connections=connections, ask=ask if kind == "B" else None)
    address = store if "://" in store else f"sqlite:///{store}"
    ledger = Ledger(Store(address), rules=ContactRules(2, 28), terms=TERMS)
    work(ledger, plan_id=None, channel_name="email", channel=channel, compose=compose)


def main(store: str, port: str, kind: str, folder: str, connections: str = "4") -> None:
    """The same as a program."""
    print("ready", flush=True)
    send(store, int(port), kind, Path(folder), int(connections))


if __name__ == "__main__":
    main(*sys.argv[1:])
