"""What kind of program a request comes from, by its User-Agent: only this class is kept, never the text itself.

Reads and writes no table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MACHINES = frozenset({"none", "program", "scanner", "bot", "preview", "privacy_proxy"})
"""Classes of programs behind which no person sits at that moment."""

_CLASSES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        # Google's and Yahoo's servers fetch pictures when the mail is shown: a person, at one remove.
        ("image_proxy", r"GoogleImageProxy|ggpht\.com|YahooMailProxy|YahooCacheSystem|QQMail.*proxy"),
        (
            "scanner",
            r"barracuda|proofpoint|mimecast|ironport|symantec|messagelabs|trendmicro|sophos|forcepoint",
        ),
        (
            "scanner",
            r"safelinks|office.?365.*protection|fireeye|zscaler|bitdefender|cloudmark|urlscan|virustotal",
        ),
        ("scanner", r"cisco.*(?:email|umbrella)|fortiguard|fortimail|checkpoint|mail\.ru.*checker|nessus"),
        (
            "preview",
            r"facebookexternalhit|twitterbot|linkedinbot|slackbot|slack-imgproxy|whatsapp/|telegrambot",
        ),
        (
            "preview",
            r"discordbot|skypeuripreview|microsoft ?teams.*preview|dingtalkbot|larkurlpreview|bitlybot",
        ),
        ("bot", r"bot\b|bot/|spider|crawl|slurp|mediapartners|archiver|monitor(?:ing)?\b|uptime|pingdom"),
        ("program", r"^(?:curl|wget|python|java|go-http-client|libwww|ruby|perl|php|axios|node|apache-http)"),
        (
            "program",
            r"headless|phantomjs|selenium|puppeteer|playwright|python-(?:requests|urllib)|scrapy|httpx/",
        ),
        ("wechat", r"micromessenger"),
        ("tablet", r"ipad|tablet|android(?!.*mobile)"),
        ("phone", r"iphone|ipod|mobile|windows phone|harmonyos|okhttp|cfnetwork|dalvik"),
        ("desktop", r"windows nt|macintosh|x11|linux|cros|outlook|thunderbird|foxmail"),
    )
)
# Apple's mail privacy fetches pictures beforehand, for everybody, with a User-Agent that says nothing more.
_PRIVACY_PROXY = re.compile(r"Mozilla/5\.0\s*")
_PURPOSES = ("purpose", "sec-purpose", "x-purpose", "x-moz")


def classify_agent(agent: str, headers: Mapping[str, str]) -> str:
    """The class of whatever asks; ``headers`` by lower-case name."""
    text = agent[:1_000].strip()
    purposes = " ".join(headers.get(name, "").lower() for name in _PURPOSES)
    if "prefetch" in purposes or "preview" in purposes:
        return "preview"
    if not text:
        return "none"
    if _PRIVACY_PROXY.fullmatch(text):
        return "privacy_proxy"
    return next((name for name, pattern in _CLASSES if pattern.search(text)), "other")
