"""A way out that cannot be opened as the settings stand: what wants to go there waits, and everything else goes on."""

from __future__ import annotations

from collections.abc import Callable

from aimwell.core.errors import AimwellError
from aimwell.core.logs import get_logger
from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt


class Unready(Channel):
    """Takes nothing. ``problem`` says why; who launches by hand is told at once.

    What a dead worker left is not judged here: nobody was asked, so it stays as it is.
    """

    promise = Promise.CAN_BE_ASKED
    window = 8

    def __init__(self, problem: AimwellError) -> None:
        self.problem = problem

    def deliver(self, message: Message) -> Receipt:
        """As if the provider could not be reached: tried again later, without an attempt."""
        return Receipt(Outcome.TEMPORARY, "connection_failed")

    def find(self, delivery_id: str) -> Receipt | None:
        """Nobody knows."""
        return Receipt(Outcome.UNKNOWN, "connection_lost")


def open_channel(name: str, make: Callable[[], Channel]) -> Channel:
    """The channel, or ``Unready`` where a key is missing or a setting is of no use."""
    try:
        return make()
    except AimwellError as problem:
        get_logger("deployment").warning("channel.unready", channel=name, code=problem.code)
        return Unready(problem)
