from __future__ import annotations

import re
from pathlib import Path

import pytest

from aimwell.core.errors import BadInput
from aimwell.engine.settings import load_settings

WRONG = (
    ("[strategy]\ncall_minutes = -1", "strategy.call_minutes", "at least 0"),
    ("[contact]\nholdout_share = 1.5", "contact.holdout_share", "less than 1"),
    ('[contact]\ncap = "two"', "contact.cap", "number"),
    ('[engine]\nmemory_limit = "lots"', "engine.memory_limit", "2GB"),
    ('[business]\nzone = "Mars/X"', "business.zone", "Asia/Shanghai"),
    ('[business]\ncurrency = "euro"', "business.currency", "EUR"),
    ("[business]\nmargin_rate = 0", "business.margin_rate", "more than 0"),
    ('[strategy]\nbudget = "much"', "strategy.budget", "number"),
    ('[smtp]\nstarttls = "perhaps"', "smtp.starttls", "true or false"),
    ("sede = 3", "sede", "no such setting"),
    ("channels = 3", "channels", "another kind"),
    ("[channels.fax]\nminutes = 3", "channels.fax.unit_cost", "needed"),
)


@pytest.mark.parametrize(("written", "key", "words"), WRONG)
def test_a_wrong_setting_is_named_and_explained_in_both_languages(
    tmp_path: Path, written: str, key: str, words: str
) -> None:
    file = tmp_path / "aimwell.toml"
    file.write_text(written, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_settings(file)
    assert caught.value.where["column"] == key
    assert words in caught.value.render("en")
    # Names of settings, zones and units stay; no English sentence does.
    assert not re.search(r"[A-Za-z]+ [A-Za-z]+ [A-Za-z]+", caught.value.render("zh"))
