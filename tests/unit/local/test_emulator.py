from __future__ import annotations

from pathlib import Path

import pytest

from local.emulator import Emulator
from local.place import CannotRun, Place

SENTENCE = r"^The saved state in .* cannot be read \(.* is damaged\); `make reset` starts over\.$"


@pytest.mark.parametrize("pointer", ["", "save-", "save-1/../..", "elsewhere", "save-9"])
def test_a_pointer_to_no_save_is_a_broken_state(tmp_path: Path, pointer: str) -> None:
    place = Place(tmp_path)
    (place.state / "save-1").mkdir(parents=True)
    (place.state / "current").write_text(pointer)
    with pytest.raises(CannotRun, match=SENTENCE):
        Emulator(place, smtp_port=1)


def test_a_save_that_is_cut_off_is_a_broken_state_and_stays_for_who_wants_to_mend_it(tmp_path: Path) -> None:
    place = Place(tmp_path)
    save = place.state / "save-3"
    save.mkdir(parents=True)
    (place.state / "current").write_text("save-3")
    (save / "dynamodb.json").write_text('{"__ministack_format__": 2, "payl')
    with pytest.raises(CannotRun, match=r"save-3/dynamodb\.json is damaged"):
        Emulator(place, smtp_port=1)
    assert (save / "dynamodb.json").exists()
