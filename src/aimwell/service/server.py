"""Runs the service in one process: uvicorn on uvloop and httptools, until a signal; what was taken is answered."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import uvicorn
from uvicorn.config import HTTPProtocolType

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.engine.workspace import Workspace
from aimwell.service.app import create_app
from aimwell.service.protocol import LimitedProtocol

HOST = "127.0.0.1"
PORT = 8600
GRACE_SECONDS = 30
"""So long requests under way may take once the service is told to end."""
_MOST_CONNECTIONS = 8_000
_BACKLOG = 2_048
_SWITCH = 0.0005
"""Seconds after which a thread lets another one go on: an answer must not wait while a commit is computed."""
_GARBAGE = (100_000, 10, 10)
"""New objects after which the interpreter looks for garbage among them (700 when nothing is said): thousands of
requests under way are no garbage, and each has dozens."""


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket (``port`` 0: any that is free); BadInput where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise BadInput(
            "service.address_taken",
            say("The service cannot listen on {host}, port {port}.", host=host, port=str(port)),
            remedy=say("End what listens there, or choose another address with --host and --port."),
            where={"value": f"{host}:{port}"},
        ) from error
    return listener


def name_address(listener: socket.socket) -> str:
    """Where it is reached, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(
    workspace: Workspace, listener: socket.socket, *, tell: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; ``tell`` is told the address once requests are answered."""
    config = uvicorn.Config(
        create_app(workspace),
        loop="auto",
        http=cast(HTTPProtocolType, LimitedProtocol),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        # A proxy on this machine tells for whom it asks.
        proxy_headers=True,
        limit_concurrency=_MOST_CONNECTIONS,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    with _attuned():
        try:
            _Server(config, name_address(listener), tell).run(sockets=[listener])
        except KeyboardInterrupt:
            # uvicorn raises the signal again that it ended for.
            return


@contextmanager
def _attuned() -> Iterator[None]:
    """What the interpreter does by the way costs less: a quarter of all, else, is looking for garbage."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(_SWITCH)
    gc.set_threshold(*_GARBAGE)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        sys.setswitchinterval(interval)


class _Server(uvicorn.Server):
    """Says when it is there, and does not die of the signal that ended it: the caller has work left to do."""

    def __init__(self, config: uvicorn.Config, address: str, tell: Callable[[str], None] | None) -> None:
        super().__init__(config)
        self._address = address
        self._tell = tell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        # To look through all libraries for cycles takes a sixth of a second, in which nobody is answered.
        gc.collect()
        gc.freeze()
        if self._tell is not None and self.started:
            self._tell(self._address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was taken, and end."""
        await super().shutdown(sockets)
        self._captured_signals.clear()
