"""All contents of a workspace: found by id, language and variant, parsed once; and which action uses which.

Reads the store's definitions of the kinds ``content`` and ``content_use``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aimwell.core.errors import NotReady
from aimwell.core.text import Language, Text, say
from aimwell.deployment.content.definition import KIND, Definition, ProductBlock, read_definition
from aimwell.deployment.content.findings import Finding
from aimwell.deployment.content.lint import check_findings, lint_definition
from aimwell.deployment.content.rendering import DEFAULT_CONTENT, Content, load_all
from aimwell.deployment.content.variables import PRODUCT_VARIABLES, Variable
from aimwell.deployment.content.variants import Choice, choose_variant
from aimwell.deployment.tracking.short import Shorten, find_shortener
from aimwell.engine.store import Store
from aimwell.engine.store_tables import DEFINITIONS
from aimwell.engine.workspace import Workspace

USE_KIND = "content_use"
TEMPLATES = "templates"
CONTENTS = "content"


class Library:
    """The contents of one workspace, as they stand when they are first asked for."""

    def __init__(
        self, store: Store, templates: Path | None = None, *, shorten: Shorten | None = None
    ) -> None:
        self._store = store
        self.shorten = shorten
        """Makes the links of an SMS as long as they will be; None where they stay as they are."""
        self._templates = templates
        self._default: dict[Language, Content] | None = None
        self._definitions: dict[tuple[str, int | None], tuple[int, Definition]] = {}
        self._contents: dict[tuple[str, int, Language, str | None], Content] = {}
        self._uses: dict[str, str] | None = None

    @property
    def default(self) -> dict[Language, Content]:
        """The content that every workspace has."""
        if self._default is None:
            self._default = load_all(self._templates)
        return self._default

    def find(self, content_id: str, version: int | None = None) -> tuple[int, Definition]:
        """The version (the newest when None) of a content that people wrote; NotReady when there is none."""
        key = (content_id, version)
        if key not in self._definitions:
            self._definitions[key] = load_definition(self._store, content_id, version)
        return self._definitions[key]

    def get(
        self, content_id: str, language: Language, *, variant: str | None = None, version: int | None = None
    ) -> Content:
        """The content to render; in another language where it has no texts in this one."""
        if content_id == DEFAULT_CONTENT:
            return self.default[language]
        number, definition = self.find(content_id, version)
        spoken = language if language in definition.languages else definition.languages[0]
        key = (content_id, number, spoken, variant)
        if key not in self._contents:
            self._contents[key] = definition.build(spoken, variant=variant, version=number)
        return self._contents[key]

    def choose(self, action_id: str, offer: str = "") -> str:
        """Which content an action uses: its own, else its offer's, else the default."""
        if self._uses is None:
            self._uses = {
                name: str(body.get("content", DEFAULT_CONTENT))
                for name, body in self._store.list_definitions(USE_KIND).items()
            }
        return self._uses.get(action_id) or self._uses.get(offer) or DEFAULT_CONTENT

    def draw(self, content_id: str, customer_id: str) -> Choice | None:
        """The variant that a customer sees; None where the content has none."""
        if content_id == DEFAULT_CONTENT:
            return None
        _, definition = self.find(content_id)
        return choose_variant(content_id, definition.salt, definition.variants, customer_id)

    def describe(self, content_id: str, customer_id: str) -> dict[str, Any]:
        """What a delivery of it must remember in its ``detail``: version, variant, probability, coupon pool."""
        if content_id == DEFAULT_CONTENT:
            return {}
        number, definition = self.find(content_id)
        detail: dict[str, Any] = {"content_version": number}
        choice = self.draw(content_id, customer_id)
        if choice is not None:
            detail |= {"variant": choice.variant, "variant_probability": choice.probability}
        if definition.coupon is not None:
            detail["coupon_pool"] = definition.coupon
        return detail

    def list_variables(self, content_id: str, version: int | None = None) -> dict[str, Variable]:
        """The variables of a content that come from a customer's attributes and tags."""
        if content_id == DEFAULT_CONTENT:
            return {}
        declared = self.find(content_id, version)[1].variables
        return {name: variable for name, variable in declared.items() if variable.source}

    def find_block(self, content_id: str, version: int | None = None) -> ProductBlock | None:
        """How the content shows products; None when no text of it does."""
        if content_id == DEFAULT_CONTENT:
            return ProductBlock()
        definition = self.find(content_id, version)[1]
        shown = any(name in text for text in definition.parts.values() for name in PRODUCT_VARIABLES)
        return definition.products if shown else None

    def check(self, content_ids: Iterable[str]) -> list[Text]:
        """The warnings of lint about these contents; BadInput with the first error, if there is one."""
        used = sorted(set(content_ids) - {DEFAULT_CONTENT})
        findings = [finding for content_id in used for finding in self._lint(content_id)]
        return check_findings(findings)

    def _lint(self, content_id: str) -> list[Finding]:
        return lint_definition(self.find(content_id)[1], shorten=self.shorten)

    def list_sources(self, content_ids: Iterable[str]) -> dict[str, str]:
        """All that these contents say, for a fingerprint: any change of text, variable, variant or pool changes it."""
        sources: dict[str, str] = {}
        for content_id in sorted(set(content_ids)):
            if content_id == DEFAULT_CONTENT:
                for language, content in self.default.items():
                    sources |= {f"{language}/{part}": text for part, text in content.sources.items()}
                continue
            _, definition = self.find(content_id)
            body = json.dumps(definition.to_body(), ensure_ascii=False, sort_keys=True)
            sources[f"{content_id}/{CONTENTS}"] = hashlib.sha256(body.encode()).hexdigest()
        return sources


def load_library(workspace: Workspace) -> Library:
    """The contents of ``workspace``."""
    shorten = find_shortener(workspace.settings.tracking)
    return Library(workspace.store, workspace.path / TEMPLATES, shorten=shorten)


def load_content(
    workspace: Workspace,
    content_id: str,
    language: Language,
    *,
    variant: str | None = None,
    version: int | None = None,
) -> Content:
    """One content in one language; NotReady when there is none of this id, BadInput when it cannot be read."""
    return load_library(workspace).get(content_id, language, variant=variant, version=version)


def save_content(store: Store, definition: Definition, *, actor: str = "cli") -> int:
    """Keep a content as a new version unless nothing changed; BadInput when a text of it cannot be read."""
    names: list[str | None] = [None, *(variant.name for variant in definition.variants)]
    for language in definition.languages:
        for name in names:
            definition.build(language, variant=name)
    return store.save_definition(KIND, definition.content_id, definition.to_body(), actor=actor)


def use_content(store: Store, target: str, content_id: str, *, actor: str = "cli") -> None:
    """Let an action or an offer use a content from now on; NotReady when there is none of this id."""
    if content_id != DEFAULT_CONTENT:
        load_definition(store, content_id)
    store.save_definition(USE_KIND, target, {"content": content_id}, actor=actor)


def list_contents(store: Store) -> dict[str, Definition]:
    """The newest version of every content that people wrote."""
    found: Mapping[str, dict[str, Any]] = store.list_definitions(KIND)
    return {name: read_definition(name, body) for name, body in found.items()}


def load_definition(store: Store, content_id: str, version: int | None = None) -> tuple[int, Definition]:
    """A content's version (the newest when None) with its number; NotReady when there is none."""
    query = sa.select(DEFINITIONS.c.version, DEFINITIONS.c.body).where(
        DEFINITIONS.c.kind == KIND, DEFINITIONS.c.name == content_id
    )
    if version is not None:
        query = query.where(DEFINITIONS.c.version == version)
    with store.snapshot() as connection:
        row = connection.execute(query.order_by(DEFINITIONS.c.version.desc()).limit(1)).one_or_none()
    if row is None:
        raise NotReady(
            "deployment.no_content",
            say("There is no content '{content}'.", content=content_id),
            remedy=say(
                "aimwell content list shows what there is; aimwell content import brings in a folder."
            ),
            where={"value": content_id},
        )
    return int(row.version), read_definition(content_id, row.body)
