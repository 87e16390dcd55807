"""The page in a real browser, in both languages: no error on the console, every chart drawn."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from aimwell.report import render
from tests.report.payload import make_payload

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium: apt-get install chromium (or put a Chrome on PATH)"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--virtual-time-budget=6000",
    "--timeout=30000",
)


def browse(page: Path, language: str, *wanted: str) -> subprocess.CompletedProcess[str]:
    """Open ``page`` and return what the browser printed."""
    assert BROWSER is not None
    profile = page.with_name(f"profile-{language}-{len(wanted[0])}")
    command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", "--window-size=1440,900", *wanted]
    return subprocess.run(
        [*command, f"{page.as_uri()}#{language}"], capture_output=True, text=True, timeout=300, check=True
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(make_payload(), currency="USD"), encoding="utf-8")
    return path


@needs_browser
@pytest.mark.parametrize(
    ("language", "tag", "title"), [("en", "en", "the round in figures"), ("zh", "zh-Hans", "本轮成绩单")]
)
def test_every_chart_is_drawn_without_an_error(page: Path, language: str, tag: str, title: str) -> None:
    done = browse(page, language, "--dump-dom")
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert f'<html lang="{tag}"' in done.stdout
    assert re.search(rf"<title>[^<]*{title}</title>", done.stdout)
    shown = re.sub(r"<script.*?</script>", "", done.stdout, flags=re.S)
    places = len(re.findall(r'class="chart ', shown))
    assert places == len(re.findall(r'class="chart [^>]*><div[^>]*><canvas', shown)) == 17
    assert f'data-ready="{places}"' in done.stdout


@needs_browser
def test_the_page_is_not_blank(page: Path) -> None:
    picture = page.with_name("zh.png")
    browse(page, "zh", f"--screenshot={picture}")
    # A blank page of this size packs into some ten kilobytes.
    assert picture.stat().st_size > 60_000


@needs_browser
def test_an_empty_report_opens_too(tmp_path: Path) -> None:
    path = tmp_path / "empty.html"
    path.write_text(render({}, currency="CNY"), encoding="utf-8")
    done = browse(path, "zh", "--dump-dom")
    assert "CONSOLE" not in done.stderr
    assert 'data-ready="0"' in done.stdout
