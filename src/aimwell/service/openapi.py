"""``/openapi.json``: what is served, what is asked and what is answered, refusals included. Reads and writes no table.

Each operation is described where it is made (``service.routes``); here are the parts that they share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aimwell import __version__
from aimwell.core.text import Language, Text, say
from aimwell.service.decide import Decide, Outcomes, Told
from aimwell.service.inbox import Marked, TokenWanted
from aimwell.service.intake import KINDS, MOST_ITEMS
from aimwell.service.keys import Scope

Schema = Mapping[str, Any]
KEYED: tuple[Schema, ...] = ({"basicKey": []}, {"bearerKey": []})
CUSTOMER: tuple[Schema, ...] = ({"customerToken": []},)
_FORMS = (Decide, Told, Outcomes, TokenWanted, Marked)
_TEXT: Schema = {"type": "string"}
_PROBLEM: Schema = {
    "type": "object",
    "required": ["code", "message", "remedy"],
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "remedy": {"type": ["string", "null"]},
        "where": {"type": "object"},
        "request_id": {"type": "string"},
    },
}
_FLAT: Schema = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
}
"""Objects that may hold anything, told as what they mostly hold."""
_ID: Schema = {"type": ["string", "integer"], "maxLength": 255}
_MESSAGE: Schema = {
    "type": "object",
    "anyOf": [{"required": ["userId"]}, {"required": ["anonymousId"]}],
    "properties": {
        "userId": _ID,
        "anonymousId": _ID,
        "messageId": {"type": "string", "minLength": 1, "maxLength": 255},
        "timestamp": {"type": "string", "format": "date-time"},
        "properties": _FLAT,
        "traits": _FLAT,
        "context": _FLAT,
        "writeKey": {"type": "string"},
    },
}
_EVENT: Schema = {"type": "string", "minLength": 1, "pattern": r"\S"}
_SCHEMAS: dict[str, Schema] = {
    "Problem": _PROBLEM,
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"$ref": "#/components/schemas/Problem"}},
    },
    "Message": _MESSAGE,
    "Track": {
        **_MESSAGE,
        "required": ["event"],
        "properties": {**_MESSAGE["properties"], "event": _EVENT},
    },
    "Item": {
        **_MESSAGE,
        "required": ["type"],
        "properties": {**_MESSAGE["properties"], "type": {"enum": list(KINDS)}, "event": _EVENT},
    },
    "Batch": {
        "type": "object",
        "required": ["batch"],
        "properties": {
            "batch": {"type": "array", "maxItems": MOST_ITEMS, "items": {"$ref": "#/components/schemas/Item"}},
            "writeKey": {"type": "string"},
            "sentAt": {"type": "string", "format": "date-time"},
            "context": _FLAT,
        },
    },
    "Taken": {
        "type": "object",
        "required": ["success"],
        "properties": {
            "success": {"type": "boolean"},
            "accepted": {"type": "integer"},
            "duplicate": {"type": "integer"},
            "rejected": {"type": "integer"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["index", "status", "error"],
                    "properties": {
                        "index": {"type": "integer"},
                        "message_id": {"type": ["string", "null"]},
                        "status": {"enum": ["accepted", "duplicate", "rejected"]},
                        "error": {"$ref": "#/components/schemas/Problem"},
                    },
                },
            },
        },
    },
    "Decision": {
        "type": "object",
        "required": ["plan_id", "request_id", "customer_id", "action_id", "probability", "reason", "repeated"],
        "properties": {
            "plan_id": _TEXT,
            "request_id": _TEXT,
            "customer_id": _TEXT,
            "action_id": {"type": ["string", "null"]},
            "probability": {"type": "number"},
            "choices": {"type": "integer"},
            "reason": _TEXT,
            "expected_profit": {"type": "number"},
            "cost": {"type": "number"},
            "confirm_until_ms": {"type": ["integer", "null"]},
            "repeated": {"type": "boolean"},
            "explanation": {"type": "object"},
        },
    },
    "Settlement": {
        "type": "object",
        "properties": {
            "request_id": _TEXT,
            "customer_id": _TEXT,
            "action_id": _TEXT,
            "state": {"enum": ["confirmed", "cancelled", "expired"]},
            "repeated": {"type": "boolean"},
            "outcomes": {"type": "array", "items": {"type": "object"}},
        },
    },
    "CustomerToken": {
        "type": "object",
        "required": ["token", "ends_ms"],
        "properties": {"token": _TEXT, "ends_ms": {"type": "integer"}},
    },
    "InboxPage": {
        "type": "object",
        "required": ["messages", "unread"],
        "properties": {
            "messages": {"type": "array", "items": {"type": "object"}},
            "unread": {"type": "integer"},
        },
    },
    "State": {"type": "object", "required": ["state"], "properties": {"state": _TEXT}},
    "Status": {"type": "object", "required": ["status"], "properties": {"status": _TEXT}},
    "Heard": {"type": "object", "required": ["events"], "properties": {"events": {"type": "integer"}}},
    "Anything": _FLAT,
}  # fmt: skip
_REFUSALS: Mapping[int, Text] = {
    400: say("The request cannot be used."),
    401: say("There is no valid key or token."),
    403: say("The key or the signature does not allow it."),
    404: say("There is no such thing."),
    405: say("The path takes other methods."),
    408: say("The request took too long to arrive."),
    409: say("It cannot be done now; the remedy says what must come first."),
    413: say("It is too large."),
    415: say("The body's compression is not understood."),
    429: say("Too many requests; Retry-After says when to come again."),
    503: say("The store cannot be reached now; Retry-After says when to come again."),
}
_SECURITY: Mapping[str, Schema] = {
    "basicKey": {"type": "http", "scheme": "basic"},
    "bearerKey": {"type": "http", "scheme": "bearer"},
    "customerToken": {"type": "http", "scheme": "bearer"},
}


def describe(
    summary: Text,
    *,
    answers: Mapping[int, str] | None = None,
    body: str | None = None,
    media: str = "application/json",
    scope: Scope | None = None,
    security: tuple[Schema, ...] | None = None,
    produces: str = "application/json",
) -> dict[str, Any]:
    """One operation: the schemas of its ``answers`` by status and of its ``body``, and the key that it needs."""
    told: dict[str, Any] = {"summary": summary, "responses": {}}
    for status, schema in (answers or {}).items():
        told["responses"][str(status)] = _describe_answer(_REFUSALS.get(status, summary), schema, produces)
    for status, text in _REFUSALS.items():
        told["responses"].setdefault(str(status), _describe_answer(text, "Error", "application/json"))
    if body is not None:
        told["requestBody"] = {"required": True, "content": {media: {"schema": _refer(body)}}}
    needed = security if security is not None else KEYED if scope is not None else ()
    told["security"] = list(needed)
    if scope is not None:
        told["x-scope"] = scope
    return told


def build_description(
    operations: Mapping[str, Mapping[str, Mapping[str, Any]]], language: Language
) -> dict[str, Any]:
    """The whole description of ``operations`` (path → method → operation) in one language."""
    paths = {
        path: {
            **{method.lower(): dict(told) for method, told in methods.items()},
            **_describe_places(path),
        }
        for path, methods in operations.items()
    }
    _, forms = msgspec.json.schema_components(_FORMS, ref_template="#/components/schemas/{name}Form")
    schemas = {**_SCHEMAS, **{f"{name}Form": schema for name, schema in forms.items()}}
    found: dict[str, Any] = _render(
        {
            "openapi": "3.1.0",
            "info": {"title": "Aimwell 准星", "version": __version__},
            "paths": paths,
            "components": {"schemas": schemas, "securitySchemes": _SECURITY},
        },
        language,
    )
    return found


def _describe_answer(text: Text, schema: str, produces: str) -> dict[str, Any]:
    told: dict[str, Any] = {"description": text}
    if schema:
        json = produces == "application/json"
        told["content"] = {produces: {"schema": _refer(schema) if json else {"type": "string"}}}
    return told


def _describe_places(path: str) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{") and part.endswith("}")]
    places = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    return {"parameters": places} if places else {}


def _refer(name: str) -> dict[str, Any]:
    if "|" in name:
        return {"anyOf": [_refer(part) for part in name.split("|")]}
    return {"$ref": f"#/components/schemas/{name}"}


def _render(value: Any, language: Language) -> Any:
    if isinstance(value, Text):
        return value.render(language)
    if isinstance(value, Mapping):
        return {name: _render(one, language) for name, one in value.items()}
    return [_render(one, language) for one in value] if isinstance(value, list | tuple) else value
