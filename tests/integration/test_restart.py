"""The embedded AWS is stopped, or killed, in the middle of cases: every confirmed one is whole, its letter arrives."""

from __future__ import annotations

import time
from operator import ge
from pathlib import Path

import pytest

from local.actors import Crawler, Requester, Reviewer, eventually
from local.embedded_aws import EmbeddedAws
from local.emulator import SAVE_EVERY_S
from optout.store import LETTER_GRACE


@pytest.mark.parametrize("killed", [False, True], ids=["Ctrl-C", "kill -9"])
def test_stopped_in_the_middle_everything_confirmed_is_there(tmp_path: Path, killed: bool) -> None:
    with EmbeddedAws(tmp_path) as aws:
        anna, crawler = Reviewer(aws.running, "anna"), Crawler(aws.running)
        settled = Requester(aws.running, "settled@people.example")
        anna.accept(settled.file("links", links="https://restart.example/settled"))
        begun = Requester(aws.running, "begun@people.example").begin("links", links="https://restart.example/begun")
        waiting = Requester(aws.running, "waiting@people.example")
        number = waiting.file("links", links="https://restart.example/waiting")
        if killed:
            # What is killed loses the seconds since the last save: this much is saved by then, twice over.
            time.sleep(2 * SAVE_EVERY_S)
        aws.restart(killed=killed)

        (result,) = crawler.verdicts({"url": "https://restart.example/settled"}, scopes=["link"])
        assert result["verdict"] == "exclude"
        anna.accept(number)
        (result,) = crawler.verdicts({"url": "https://restart.example/waiting"}, scopes=["link"])
        assert result["verdict"] == "exclude"
        begun.confirm()

        def counts() -> list[int]:
            return [len(aws.running.letters(person.email)) for person in (settled, waiting, begun)]

        def swept() -> bool | None:
            aws.running.sweep("letters")
            return True if all(map(ge, counts(), (2, 2, 1))) else None

        eventually(swept, "every letter arrives after the sweeps", LETTER_GRACE.total_seconds() + 60)
        assert counts()[1:] == [2, 1]
        for person in (settled, waiting):
            subjects = {letter["Subject"] for letter in aws.running.letters(person.email)}
            assert len(subjects) == 2, "received and accepted"
