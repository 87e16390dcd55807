"""What the service refuses, in words and as an HTTP status. Reads and writes no table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from aimwell.core.errors import AimwellError, BadInput, Conflict, NotAllowed, NotReady
from aimwell.core.text import say
from aimwell.service.keys import SCOPE_TITLES, Scope

_STATUS: tuple[tuple[type[AimwellError], int], ...] = (
    (BadInput, 400),
    (NotAllowed, 403),
    (NotReady, 409),
    (Conflict, 409),
)
_STATUS_OF_CODE: Mapping[str, int] = {
    "strategy.unknown_live_customer": 404,
    "strategy.unknown_request": 404,
    "data.event_too_large": 413,
    # Whoever asks again later may be lucky.
    "engine.store_unreachable": 503,
    "engine.disk_full": 503,
    "engine.store_contended": 503,
    "engine.store_busy": 503,
}
RETRY_SECONDS = 2


@dataclass
class Refused(Exception):
    """An answer that is no success: the problem, its HTTP status, and headers beside the usual ones."""

    problem: AimwellError
    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()


def find_status(problem: AimwellError) -> int:
    """The HTTP status that says what kind of problem it is."""
    known = _STATUS_OF_CODE.get(problem.code)
    return known or next((status for kind, status in _STATUS if isinstance(problem, kind)), 500)


def refuse_key() -> Refused:
    """No key, or one that opens nothing: nobody learns which."""
    problem = NotAllowed(
        "service.unknown_key",
        say("The request has no valid key."),
        remedy=say("Send a key: as the user of basic authentication, as a bearer token, or as writeKey."),
    )
    return Refused(problem, 401, ((b"www-authenticate", b'Basic realm="aimwell", charset="UTF-8"'),))


def refuse_scope(scope: Scope) -> Refused:
    """A key for other things."""
    problem = NotAllowed(
        "service.scope_missing",
        say("This key does not allow to {purpose}.", purpose=SCOPE_TITLES[scope]),
        remedy=say("Use a key with the scope {scope}: aimwell key create", scope=scope),
        where={"value": scope},
    )
    return Refused(problem, 403)


def refuse_rate(seconds: float) -> Refused:
    """A key that asks too often."""
    problem = Conflict(
        "service.rate_exceeded",
        say("This key sends more requests than it may."),
        remedy=say("Wait for as many seconds as Retry-After says; or make a key with a higher rate."),
    )
    return Refused(problem, 429, _after(seconds))


def refuse_full() -> Refused:
    """More waits than is taken: nothing of this request was kept."""
    problem = Conflict(
        "service.queue_full",
        say("More is waiting than can be taken now; nothing of this request was kept."),
        remedy=say("Send it again after as many seconds as Retry-After says."),
    )
    return Refused(problem, 429, _after(1))


def refuse_large(most: int) -> Refused:
    """A body beyond the limit."""
    problem = BadInput(
        "service.body_too_large",
        say("The request is larger than {most} bytes.", most=most),
        remedy=say("Send less at once."),
    )
    return Refused(problem, 413)


def refuse_items(most: int) -> Refused:
    """A batch of too many items."""
    problem = BadInput(
        "service.batch_too_long",
        say("The batch has more than {most} items.", most=most),
        remedy=say("Send less at once."),
    )
    return Refused(problem, 413)


def refuse_slow() -> Refused:
    """A body that does not come to its end."""
    problem = BadInput(
        "service.body_too_slow",
        say("The request took too long to arrive."),
        remedy=say("Send it whole."),
    )
    return Refused(problem, 408)


def refuse_encoding() -> Refused:
    """Compressed in a way that is not known, or badly."""
    problem = BadInput(
        "service.bad_encoding",
        say("The body is not compressed as its header says; gzip is understood."),
        remedy=say("Send it as it is, or with gzip."),
    )
    return Refused(problem, 415)


def refuse_json() -> Refused:
    """A body that is not JSON."""
    return Refused(explain_json(), 400)


def explain_json() -> BadInput:
    """Text that is not JSON."""
    return BadInput(
        "service.not_json",
        say("This is not valid JSON in UTF-8."),
        remedy=say("Send JSON; numbers are finite, and texts are Unicode."),
    )


def explain_deep(most: int) -> BadInput:
    """JSON with too many levels."""
    return BadInput(
        "service.too_deep",
        say("The JSON has more than {most} levels.", most=most),
        remedy=say("Send it flatter."),
    )


def refuse_field(field: str) -> Refused:
    """JSON of another form than is asked for."""
    problem = BadInput(
        "service.bad_field",
        say("The request does not have the form that is asked for: {field}.", field=field),
        remedy=say("Compare it with /openapi.json."),
        where={"column": field},
    )
    return Refused(problem, 400)


def refuse_path() -> Refused:
    """Nothing is served there."""
    problem = BadInput(
        "service.unknown_path",
        say("Nothing is served under this path."),
        remedy=say("See what is served: /openapi.json"),
    )
    return Refused(problem, 404)


def refuse_method(allowed: tuple[str, ...]) -> Refused:
    """Served, but not so."""
    names = ", ".join(allowed)
    problem = BadInput(
        "service.method_not_allowed",
        say("This path takes only {methods}.", methods=names),
        remedy=say("Compare it with /openapi.json."),
    )
    return Refused(problem, 405, ((b"allow", names.encode()),))


def refuse_store() -> Refused:
    """The store does not answer."""
    problem = NotReady(
        "service.store_unreachable",
        say("The store cannot be reached now; it is not known whether anything was kept."),
        remedy=say("Send it again after as many seconds as Retry-After says: nothing is counted twice."),
    )
    return Refused(problem, 503, _after(RETRY_SECONDS))


def refuse_defect() -> Refused:
    """We failed."""
    problem = NotReady(
        "service.defect",
        say("Aimwell itself failed."),
        remedy=say("Tell whoever runs it the request id of this answer."),
    )
    return Refused(problem, 500)


def refuse(problem: AimwellError) -> Refused:
    """Whatever a step refuses."""
    status = find_status(problem)
    return Refused(problem, status, _after(RETRY_SECONDS) if status == 503 else ())


def _after(seconds: float) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"retry-after", str(max(1, math.ceil(seconds))).encode()),)
