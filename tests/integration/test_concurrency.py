"""Many decisions at once on the embedded DynamoDB: the log has no gap, and no exclusion is lost or doubled."""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import boto3
import httpx
import pytest
from botocore.config import Config

from local.actors import Crawler, Requester, Reviewer
from local.place import REGION, ROOT_KEY, ROOT_SECRET
from local.running import Running
from optout.decisions import AcceptReason, Decision, RejectReason
from optout.errors import AlreadyDecided
from optout.exclusions.log import Add, CurrentList, ExclusionLog, Remove, Version
from optout.requests import Answers, Kind, OptOutRequest, Status, Step
from optout.store import Requests

CASES = 40
DECISIONS = 100


@pytest.fixture
def requests(running: Running) -> Iterator[Requests]:
    """The store itself on the embedded tables, with room for a hundred connections."""
    config = Config(max_pool_connections=DECISIONS, connect_timeout=5, read_timeout=30)
    client = boto3.client(
        "dynamodb",
        endpoint_url=running.place.endpoint,
        region_name=REGION,
        aws_access_key_id=ROOT_KEY,
        aws_secret_access_key=ROOT_SECRET,
        config=config,
    )
    log = ExclusionLog(running.outputs["ExclusionsTable"], client)
    # One slow process plays DynamoDB for all of them here, so patience must not be what decides.
    yield Requests(running.outputs["RequestsTable"], log, client, patience_s=200)
    client.close()


def links(n: int) -> Answers:
    return Answers(
        "DE",
        "why",
        "Ada",
        "Lovelace",
        f"crowd{n}@people.example",
        links=(f"https://crowd.example/{n}",),
        good_faith=True,
    )


def test_a_hundred_decisions_at_once_leave_no_gap_and_lose_nothing(requests: Requests) -> None:
    now = datetime.now(UTC)
    log = requests._log
    cases = [
        requests.confirm(requests.create_draft(Kind.LINKS, links(n), f"hash{n}", now).id, now) for n in range(CASES)
    ]
    before = log.head()
    chance = random.Random(20260105)  # noqa: S311  the same disagreement each time
    attempts = [(cases[n % CASES], decision(n, chance)) for n in range(DECISIONS)]
    together = threading.Barrier(DECISIONS)

    def decide(attempt: tuple[OptOutRequest, Decision]) -> OptOutRequest | AlreadyDecided:
        case, made = attempt
        together.wait(60)
        try:
            return requests.decide(case.id, made, case.version, datetime.now(UTC))
        except AlreadyDecided as refused:
            return refused

    with ThreadPoolExecutor(DECISIONS) as pool:
        outcomes = list(pool.map(decide, attempts))

    first = Counter(outcome.id for outcome in outcomes if isinstance(outcome, OptOutRequest))
    assert first == Counter({case.id: 1 for case in cases}), "each case was decided once"
    for outcome in outcomes:
        if isinstance(outcome, AlreadyDecided):
            assert outcome.reviewer is not None
            assert outcome.at is not None
    after = [requests.get(case.id, now) for case in cases]
    accepted = [case for case in after if case.status is Status.ACCEPTED]
    assert accepted
    assert len(accepted) < CASES

    items = list(log.tail(before))
    assert [item.seq for item in items] == list(range(before.seq + 1, log.head().seq + 1)), "numbered without a gap"
    added = [change.exclusion.exclusion_id for item in items for change in item.changes if isinstance(change, Add)]
    assert sorted(added) == sorted(entry for case in accepted for entry in case.exclusions), "none lost, none doubled"
    assert sorted(case.decision.list_version or "" for case in accepted if case.decision) == sorted(
        str(Version(before.epoch, item.seq)) for item in items
    )
    for case in after:
        letters = [item["letter"] for item in requests._items(case.id, "letter#")]
        assert letters == ["received", case.status.value], "one letter due for each step"

    winners = {outcome.id: outcome for outcome in outcomes if isinstance(outcome, OptOutRequest)}
    for case, made in attempts:
        stands = winners[case.id].decision
        if stands is not None and stands.decision_id == made.decision_id:
            again = requests.decide(case.id, made, case.version, datetime.now(UTC))
            assert again == winners[case.id], "the same decision again gets the same answer"
    assert log.head().seq == before.seq + len(items)

    with ThreadPoolExecutor(20) as pool:
        for case in pool.map(lambda case: requests.withdraw(case.id, datetime.now(UTC)), accepted):
            assert case.status is Status.WITHDRAWN
    removed = [
        change.exclusion_id
        for item in log.tail(Version(before.epoch, before.seq + len(items)))
        for change in item.changes
        if isinstance(change, Remove)
    ]
    assert sorted(removed) == sorted(added)
    current = CurrentList(log, false_exclusions_per_million=1000).refresh()
    assert current.version == log.head()


def decision(n: int, chance: random.Random) -> Decision:
    """Reviewers who disagree;"""
    if chance.random() < 0.7:
        return Decision(f"decision-{n}", Step.ACCEPT, AcceptReason.GOODWILL, "", f"reviewer{n}")
    return Decision(f"decision-{n}", Step.REJECT, RejectReason.NO_MATCH, "because", f"reviewer{n}")


def test_two_reviewers_at_once_through_the_console(running: Running) -> None:
    """Over HTTP: the first decision stands, the other reviewer is told, a repeated click gets the same answer."""
    anna, ben = Reviewer(running, "anna"), Reviewer(running, "ben")
    numbers = [
        Requester(running, f"both{n}@people.example").file("links", links=f"https://both.example/{n}") for n in range(5)
    ]
    for n, number in enumerate(numbers):
        case = anna.find(number)
        version, click = anna.version(case), str(uuid.uuid4())
        together = threading.Barrier(4)

        def decide(who: Reviewer, step: str, decision_id: str, text: str = "") -> httpx.Response:
            together.wait(30)  # noqa: B023  used up within this turn of the loop
            reason = "goodwill" if step == "accept" else "no_match"
            return who.decide(case, step, reason, text, version=version, decision_id=decision_id)  # noqa: B023

        with ThreadPoolExecutor(4) as pool:
            twice = [pool.submit(decide, anna, "accept", click) for _ in range(2)]
            others = [pool.submit(decide, ben, "reject", str(uuid.uuid4()), "no") for _ in range(2)]
            answers = [future.result() for future in [*twice, *others]]
        statuses = [answer.status_code for answer in answers]
        if statuses[0] == 200:
            assert statuses == [200, 200, 409, 409]
            assert answers[0].json() == answers[1].json()
            assert {answer.json()["reviewer"] for answer in answers[2:]} == {"anna"}
        else:
            assert sorted(statuses) == [200, 409, 409, 409]
            assert {answer.json()["reviewer"] for answer in answers if answer.status_code == 409} == {"ben"}
        verdict = Crawler(running).verdicts({"url": f"https://both.example/{n}"}, scopes=["link"])[0]["verdict"]
        assert verdict == ("exclude" if statuses[0] == 200 else "allow")
