"""While a batch is worked on, the interpreter looks for no cycles; afterwards it does as before."""

from __future__ import annotations

import gc

import pytest

from aimwell.core.collecting import without_collector


def test_the_collector_rests_for_the_block_and_whatever_ends_it() -> None:
    assert gc.isenabled()
    with pytest.raises(KeyError), without_collector():
        assert not gc.isenabled()
        with without_collector():
            pass
        assert not gc.isenabled(), "the inner of two blocks ends first"
        raise KeyError
    assert gc.isenabled()
