"""``create_app``: everything that is served over HTTP for one workspace, as a Starlette application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from aimwell.core.errors import AimwellError
from aimwell.core.logs import get_logger
from aimwell.core.text import Language
from aimwell.data.event_queue import MOST_BYTES, MOST_WAITING, EventQueue
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace
from aimwell.service.decide import Decisions
from aimwell.service.exchange import Doors, Endpoint
from aimwell.service.health import Health
from aimwell.service.hooks import Hooks
from aimwell.service.inbox import Inbox
from aimwell.service.intake import Intake
from aimwell.service.keys import KnownKeys
from aimwell.service.metrics import Metrics
from aimwell.service.openapi import build_description
from aimwell.service.pages import Pages
from aimwell.service.quick import QuickRoutes
from aimwell.service.rates import open_rates
from aimwell.service.routes import Rooms, Routes, list_routes

LOOK_SECONDS = 1.0
_LOG = get_logger("service")


def create_app(
    workspace: Workspace, *, most_waiting: int = MOST_WAITING, most_bytes: int = MOST_BYTES
) -> Starlette:
    """The application; at most ``most_waiting`` events wait for a commit, and more are sent away with 429.

    So are those that would be more than ``most_bytes`` of JSON together.

    What it holds is open from the beginning of its lifespan to its end, at which everything that was taken is written.
    """
    metrics = Metrics(workspace.store, lambda: queue.depth)
    queue = EventQueue(
        workspace, most_waiting=most_waiting, most_bytes=most_bytes, watch=metrics.count_commit
    )
    doors = Doors(KnownKeys(workspace.store), open_rates(), metrics)
    decisions = Decisions(workspace)
    routes: dict[str, Any] = {}
    health = Health(workspace.store, lambda language: _describe(routes, language))
    intake = Intake(queue)
    pages, hooks = Pages(workspace), Hooks(workspace, intake)
    routes.update(list_routes(Rooms(intake, decisions, Inbox(workspace), pages, hooks, health)))

    @asynccontextmanager
    async def live(_: Starlette) -> AsyncIterator[None]:
        with queue:
            looking = asyncio.create_task(_look_after(workspace.store, decisions))
            yield
            looking.cancel()
            # Nobody asks any more; what waits is decided and written before the process ends.
            await decisions.close()

    endpoints = {path: Endpoint(doors, path, methods) for path, methods in routes.items()}
    app = Starlette(routes=[Route(path, endpoint) for path, endpoint in endpoints.items()], lifespan=live)
    app.router.default = Endpoint(doors, "unknown", {})
    # A redirect to another spelling of the path would take its host from the request.
    app.router.redirect_slashes = False
    # Starlette's own layers catch what endpoints raise: ours raise nothing (``service.exchange``), and each layer costs
    # as much as finding the route.
    app.middleware_stack = _find_exactly(endpoints, app.router)
    app.state.quick = QuickRoutes({path.encode(): one for path, one in endpoints.items() if one.is_quick})
    return app


async def _look_after(store: Store, decisions: Decisions) -> None:
    """What would keep somebody waiting if it were left until he comes, once a second.

    The store's log moves into its file: otherwise somebody's commit would do that.
    """
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await decisions.look_after()
            if store.is_sqlite:
                await asyncio.to_thread(store.tidy)
        except (AimwellError, SQLAlchemyError) as error:
            # Whoever comes next meets it, too, and tells it.
            _LOG.warning("service.not_looked_after", error=error)


def _find_exactly(endpoints: Mapping[str, Endpoint], router: ASGIApp) -> ASGIApp:
    """The same as ``router``, whose search by patterns costs more than all that events and decisions need of it."""
    exact = {path: endpoint for path, endpoint in endpoints.items() if "{" not in path}

    async def lead(scope: Scope, receive: Receive, send: Send) -> None:
        known = exact.get(scope["path"]) if scope["type"] == "http" else None
        await (known or router)(scope, receive, send)

    return lead


def _describe(routes: Routes, language: Language) -> dict[str, Any]:
    told = {
        path: {method: operation.description for method, operation in methods.items()}
        for path, methods in routes.items()
    }
    return build_description(told, language)
