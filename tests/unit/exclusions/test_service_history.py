"""The same through the service's own doors: what a person or a crawler was told over HTTP holds, whatever fails."""

from __future__ import annotations

import pytest

from tests import in_process
from tests.history import violations


# A dying process has counted nothing, and Powertools says so on its way out.
@pytest.mark.filterwarnings("ignore:No application metrics to publish")
def test_whoever_was_told_that_it_is_decided_finds_it_so_at_the_next_lookup() -> None:
    """One small storm, most of whose time is moto's; `make history` plays larger ones."""
    played = in_process.play(1, 5, ("link-0", "link-2", "face-0"))
    assert violations(played.history) == []
    assert played.unanswered == 0
    assert played.twice == 0, "no letter came twice"
    assert {"answered 200", "clock set", "restored epochs"} <= (played.met + played.did).keys()
