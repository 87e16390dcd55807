"""What deploys Aimwell names commands, options, files and variables that there are."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from aimwell.cli.app import app
from aimwell.engine.settings import Settings
from tests.house.source import PACKAGE, ROOT

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*"))
PAGES = sorted((ROOT / "docs").glob("operations*.md"))
SECTIONS = {".service": {"Unit", "Service", "Install"}, ".timer": {"Unit", "Timer", "Install"}}
# What these units may use of systemd's vocabulary: it silently passes over a word that is spelled wrong.
KEYS = set(
    [
        "Description",
        "After",
        "Wants",
        "Type",
        "User",
        "Group",
        "EnvironmentFile",
        "Environment",
        "LoadCredential",
        "ExecStart",
        "Restart",
        "RestartSec",
        "KillSignal",
        "TimeoutStopSec",
        "ReadWritePaths",
        "LimitNOFILE",
        "Nice",
        "WantedBy",
        "OnCalendar",
        "RandomizedDelaySec",
        "Persistent",
        "NoNewPrivileges",
        "ProtectSystem",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectKernelTunables",
        "ProtectKernelModules",
        "ProtectKernelLogs",
        "ProtectControlGroups",
        "ProtectClock",
        "ProtectHostname",
        "RestrictAddressFamilies",
        "RestrictNamespaces",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "LockPersonality",
        "CapabilityBoundingSet",
        "SystemCallArchitectures",
        "UMask",
    ]
)


def check_command(words: list[str]) -> str | None:
    """What is wrong with the words after ``aimwell``; None when the parser takes them."""
    command: Any = typer.main.get_command(app)
    context = None
    words = list(words)
    while True:
        named = getattr(command, "name", None) or "aimwell"
        try:
            context = command.make_context(named, words, parent=context, resilient_parsing=False)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        rest = [*context._protected_args, *context.args] if hasattr(command, "commands") else []
        if not rest:
            return None
        if rest[0] not in command.commands:
            return f"there is no command {rest[0]}"
        command, words = command.commands[rest[0]], rest[1:]


def read_unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(
        strict=False, interpolation=None, delimiters=("=",), allow_no_value=False
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    # Keys may stand several times in a unit: the words of each count.
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


def read_compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def list_variables() -> set[str]:
    """Every variable that the program reads."""
    source = "\n".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    named = set(re.findall(r"AIMWELL_[A-Z][A-Z_]*[A-Z]", source))
    for name, one in Settings.model_fields.items():
        named.add(f"AIMWELL_{name.upper()}")
        inner_fields = getattr(one.annotation, "model_fields", {})
        named |= {f"AIMWELL_{name}__{inner}".upper() for inner in inner_fields}
    return named


def test_the_checker_sees_what_is_wrong() -> None:
    assert check_command(["serve", "--host", "0.0.0.0"]) is None
    assert check_command(["audit", "verify", "--anchor", "x"]) is None
    assert check_command(["fly"]) is not None
    assert check_command(["worker", "--faster"]) is not None
    assert check_command(["service", "--port", "many"]) is not None
    assert check_command(["backup"]) is not None


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_are_well_formed_and_start_what_there_is(path: Path) -> None:
    unit = read_unit(path)
    assert set(unit.sections()) <= SECTIONS[path.suffix]
    assert {key for section in unit.sections() for key in unit[section]} <= KEYS
    assert unit["Unit"]["Description"]
    if path.suffix == ".timer":
        assert path.with_suffix(".service") in UNITS
        return
    words = shlex.split(unit["Service"]["ExecStart"])
    assert words[0].endswith("/bin/aimwell")
    assert check_command(words[1:]) is None
    assert unit["Service"]["User"] not in ("root", "0")
    assert unit["Service"]["ProtectSystem"] == "strict"
    # With a path of its own, a credential that is not there keeps the unit from starting: SQLite needs no password.
    given = re.findall(r"^LoadCredential=(.*)$", path.read_text("utf-8"), re.MULTILINE)
    assert given and {name.upper() for name in given} <= list_variables()
    # All that it writes is allowed to it.
    written = unit["Service"]["ReadWritePaths"].split()
    for word in words[1:]:
        assert not word.startswith("/") or any(word.startswith(place) for place in written), word


def test_the_compose_file_starts_what_there_is() -> None:
    compose = read_compose()
    own = {name: one for name, one in compose["services"].items() if one.get("image") == "aimwell"}
    assert {"service", "worker", "backup", "init"} <= set(own)
    for name, one in own.items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        if one["command"]:
            words = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", word) for word in one["command"]]
            assert check_command(words) is None, name
    (script,) = own["init"]["entrypoint"][2:]
    call = re.search(r"\|\| aimwell (.*)", script)
    assert call
    assert check_command(shlex.split(call[1].replace("$$", "$"))) is None


def test_the_compose_file_names_only_what_it_declares() -> None:
    compose = read_compose()
    for name, one in compose["services"].items():
        assert set(one.get("secrets", ())) <= set(compose["secrets"]), name
        assert set(one.get("networks", ())) <= set(compose["networks"]), name
        for volume in one.get("volumes", ()):
            assert volume.split(":")[0] in compose["volumes"], name
        for other in one.get("depends_on", ()):
            assert other in compose["services"], name
    for secret, body in compose["secrets"].items():
        assert body["file"].endswith(f"/{secret}")
        assert secret.upper() in list_variables()


def test_no_password_stands_in_any_of_them() -> None:
    for path in (*UNITS, DEPLOY / "compose.yaml", DEPLOY / "Dockerfile"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"://[^/\s:]+:[^/\s@]+@", text), path.name
        assert not re.search(r"(?i)password *[:=] *[^\s$/{]", text.replace("POSTGRES_PASSWORD_FILE", "")), (
            path.name
        )


def test_variables_are_those_that_the_program_reads() -> None:
    known = list_variables()
    own = {
        "AIMWELL_NAME",
        "AIMWELL_SMTP_HOST",
        "AIMWELL_SMTP_PORT",
        "AIMWELL_STORE_BUFFERS",
        "AIMWELL_SERVICE_WORKERS",
    }
    for path in (*UNITS, *PAGES, DEPLOY / "compose.yaml", DEPLOY / "Dockerfile"):
        named = set(re.findall(r"AIMWELL_[A-Z][A-Z_]*[A-Z]", path.read_text(encoding="utf-8")))
        assert named - known - own == set(), path.name


def test_the_image_runs_as_nobody_and_starts_what_there_is() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    instructions = re.findall(r"^([A-Z]+) ", text.replace("\\\n", " "), re.MULTILINE)
    assert set(instructions) <= {
        "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
        "ENTRYPOINT", "CMD",
    }  # fmt: skip
    assert re.search(r"^USER 1\d+", text, re.MULTILINE)
    entry = re.search(r"^ENTRYPOINT (\[.*\])", text, re.MULTILINE)
    command = re.search(r"^CMD (\[.*\])", text, re.MULTILINE)
    assert entry
    assert command
    import json

    assert check_command([*json.loads(entry[1])[1:], *json.loads(command[1])]) is None
    assert "/healthz" in text
    assert '"/healthz"' in (PACKAGE / "service" / "routes.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_of_the_pages_are_those_there_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = re.findall(r"^(?:\$ )?(?:sudo (?:-u \w+ )?)?aimwell (.+)$", text, re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        assert check_command(shlex.split(line, comments=True)) is None, line


def test_both_pages_have_the_same_sections_and_commands() -> None:
    english, chinese = PAGES
    found = [
        re.findall(r"^```.*?^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for page in PAGES
    ]
    heads = [len(re.findall(r"^## ", page.read_text(encoding="utf-8"), re.MULTILINE)) for page in PAGES]
    assert heads[0] == heads[1]
    strip = [[re.sub(r"\s+#.*", "", block) for block in blocks] for blocks in found]
    assert strip[0] == strip[1], (english.name, chinese.name)
