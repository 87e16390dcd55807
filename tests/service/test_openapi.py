"""/openapi.json says everything that is served, and a fuzzer that reads it finds nothing that it does not say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from aimwell.engine.workspace import Workspace
from aimwell.service.app import create_app
from aimwell.service.exchange import Endpoint
from tests.service.live_world import open_today
from tests.service.scene import Service

CHECKS = ",".join(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "ignored_auth",
    )
)


def test_every_route_and_method_is_described(workspace: Workspace, service: Service) -> None:
    told = service.call("/openapi.json").json
    served = {
        (route.path, method)
        for route in create_app(workspace).routes
        for method in route.endpoint.operations  # type: ignore[attr-defined]
        if isinstance(route.endpoint, Endpoint)  # type: ignore[attr-defined]
    }
    described = {
        (path, method.upper())
        for path, methods in told["paths"].items()
        for method in methods
        if method != "parameters"
    }
    assert served == described
    assert len(served) > 25


def test_every_reference_leads_somewhere(service: Service) -> None:
    told = service.call("/openapi.json")
    names = set(re.findall(rb'"#/components/schemas/(\w+)"', told.body))
    schemas = told.json["components"]["schemas"]
    assert {name.decode() for name in names} <= set(schemas)
    for methods in told.json["paths"].values():
        for method, operation in methods.items():
            if method != "parameters":
                assert {"400", "401", "404", "405", "413", "429", "503"} <= set(operation["responses"])


def test_it_is_told_in_the_readers_language(service: Service) -> None:
    english = service.call("/openapi.json", headers={"Accept-Language": "en"}).json
    chinese = service.call("/openapi.json", headers={"Accept-Language": "fr, zh-Hans;q=0.8, en;q=0.1"}).json
    assert english["paths"]["/healthz"]["get"]["summary"] == "The process answers"
    assert chinese["paths"]["/healthz"]["get"]["summary"] == "进程在应答"


@pytest.mark.slow
def test_schemathesis_finds_nothing(workspace: Workspace, service: Service, key: str, tmp_path: Path) -> None:
    open_today(workspace.store)
    line = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {key}", "--checks", CHECKS),
        *("--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "1", "--no-color"),
        *("--generation-database", "none", "--workers", "1"),
        # Other names of the same, and kinds of messages that only their names tell apart.
        *("--exclude-path-regex", "^/v1/([tipsgab]|import|page|screen|group|alias)$"),
    ]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert passed is not None and passed[1] == passed[2] and int(passed[1]) > 300, done.stdout[-3000:]
