"""The retention sweep: what is over is deleted whole, what is not is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from optout import deadlines
from optout.decisions import Decision
from optout.errors import RequestNotFound
from optout.exclusions.log import ExclusionLog
from optout.requests import Answers, Kind, OptOutRequest, Photo, Status, Step
from optout.retention import SWEEP_SECONDS, Swept, sweep
from optout.settings import aws
from optout.store import LetterKey, Photos, Requests
from tests.storage import storage

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
SOON = timedelta(seconds=1)
ANSWERS = Answers("DE", "It is me", "Ada", "Lovelace", "ada@example.org")
PHOTO = Photo("t1", "ab" * 32, "cd" * 32, 640, 480, 90, tuple(bytes([n] * 32) for n in range(8)), None)


class Killed(BaseException):
    """The function was stopped between two of its calls; nothing catches it."""


class Kept:
    """Table and bucket, and what they hold."""

    def __init__(self) -> None:
        self.dynamodb, self.s3 = aws("dynamodb"), aws("s3")
        self.requests = Requests("Requests", ExclusionLog("Exclusions", self.dynamodb), self.dynamodb)
        self.photos = Photos("photos", self.s3)

    def draft(self) -> OptOutRequest:
        draft = self.requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
        self.photos.keep(draft.id, PHOTO.picture, b"jpeg")
        self.s3.put_object(Bucket="photos", Key=f"raw/{draft.id}/t1", Body=b"raw")
        return self.requests.add_photo(draft.id, PHOTO, NOW)

    def pending(self) -> OptOutRequest:
        return self.requests.confirm(self.draft().id, NOW)

    def rejected(self) -> OptOutRequest:
        return self.requests.decide(self.pending().id, Decision("d", Step.REJECT, "other", "why", "anna"), None, NOW)

    def withdrawn(self) -> OptOutRequest:
        return self.requests.withdraw(self.pending().id, NOW)

    def sweep(self, after: timedelta) -> Swept:
        return sweep(self.requests, self.photos, NOW + after)

    def files(self) -> int:
        answer = self.s3.list_object_versions(Bucket="photos")
        return len(answer.get("Versions", [])) + len(answer.get("DeleteMarkers", []))

    def items(self) -> list[str]:
        return sorted(item["sk"]["S"] for item in self.dynamodb.scan(TableName="Requests")["Items"])


@pytest.fixture
def kept() -> Iterator[Kept]:
    with storage():
        yield Kept()


def test_a_draft_is_deleted_with_its_photos_after_a_day_and_not_before(kept: Kept) -> None:
    kept.draft()
    assert kept.sweep(deadlines.DRAFT_LIFETIME - SOON) == Swept()
    assert kept.files() == 2
    assert kept.sweep(deadlines.DRAFT_LIFETIME) == Swept(drafts=1)
    assert kept.items() == []
    assert kept.files() == 0


def test_a_confirmed_request_is_never_taken_for_a_draft(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when it was confirmed between the sweep's look and its deed."""
    case = kept.pending()
    before = kept.items()
    monkeypatch.setattr(kept.requests, "falling_due", lambda period, *_: [case.id] if period == "draft" else [])
    assert kept.sweep(timedelta(days=2)) == Swept()
    assert kept.items() == before
    assert kept.files() == 2


@pytest.mark.parametrize(
    ("over", "photos_kept"),
    [("rejected", deadlines.APPEAL_WINDOW), ("withdrawn", deadlines.WITHDRAWN_PHOTOS_KEPT)],
)
def test_photos_go_first_and_the_case_after_three_years(kept: Kept, over: str, photos_kept: timedelta) -> None:
    case: OptOutRequest = getattr(kept, over)()
    assert kept.sweep(photos_kept - SOON) == Swept()
    assert kept.files() == 2
    assert kept.sweep(photos_kept) == Swept(photos=1)
    assert kept.files() == 0
    assert kept.requests.photos(case.id) == []
    assert kept.sweep(deadlines.CASE_KEPT - SOON) == Swept()
    assert kept.requests.get(case.id, NOW).status is Status(over)
    assert kept.sweep(deadlines.CASE_KEPT) == Swept(cases=1)
    assert kept.items() == []


def test_a_pending_case_is_kept_however_long_it_takes(kept: Kept) -> None:
    case = kept.pending()
    assert kept.sweep(timedelta(days=4000)) == Swept()
    assert kept.requests.get(case.id, NOW) == case
    assert kept.files() == 2


@pytest.mark.parametrize(
    ("start", "steps"),
    [("draft", [deadlines.DRAFT_LIFETIME]), ("withdrawn", [deadlines.WITHDRAWN_PHOTOS_KEPT, deadlines.CASE_KEPT])],
)
def test_wherever_a_sweep_is_killed_the_next_one_finishes(kept: Kept, start: str, steps: list[timedelta]) -> None:
    """Killed after its first, second, ... call to table or bucket."""
    calls = 0

    def die_at(last: int) -> Any:
        def hook(**_: object) -> None:
            nonlocal calls
            calls += 1
            if calls == last:
                raise Killed

        return hook

    last = deaths = 0
    killed = True
    while killed:
        last, calls, killed = last + 1, 0, False
        case: OptOutRequest = getattr(kept, start)()
        for step in steps:
            hook = die_at(last)
            clients = (kept.dynamodb, kept.s3)
            for client in clients:
                client.meta.events.register("after-call", hook)
            try:
                kept.sweep(step)
            except Killed:
                killed, deaths = True, deaths + 1
            for client in clients:
                client.meta.events.unregister("after-call", hook)
            kept.sweep(step)
            assert kept.files() == 0
        with pytest.raises(RequestNotFound):
            kept.requests.get(case.id, NOW)
        assert kept.items() == []
    assert deaths > 5


def test_a_case_that_fails_holds_up_no_other(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [kept.draft() for _ in range(3)]
    delete_all = kept.photos.delete_all

    def fail(request_id: str) -> None:
        if request_id == cases[0].id:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObject")
        delete_all(request_id)

    with monkeypatch.context() as patched:
        patched.setattr(kept.photos, "delete_all", fail)
        assert kept.sweep(timedelta(days=2)) == Swept(drafts=2, failed=1)
    assert kept.sweep(timedelta(days=2)) == Swept(drafts=1)


def test_more_than_one_batch_is_deleted_in_one_sweep(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optout.retention._BATCH", 2)
    for _ in range(5):
        kept.draft()
    assert kept.sweep(timedelta(days=2)) == Swept(drafts=5)


def test_a_sweep_ends_in_time_and_the_next_one_goes_on(kept: Kept) -> None:
    for _ in range(3):
        kept.draft()
    ticks = iter([0.0, 1.0, SWEEP_SECONDS, SWEEP_SECONDS])
    cut = sweep(kept.requests, kept.photos, NOW + timedelta(days=2), clock=lambda: next(ticks))
    assert cut == Swept(drafts=1)
    assert kept.sweep(timedelta(days=2)) == Swept(drafts=2)


def test_a_message_id_is_kept_for_ninety_days_and_the_letter_itself_longer(kept: Kept) -> None:
    key = LetterKey(kept.pending().id, 3)
    kept.requests.letter_sent(key, "id-of-ses", NOW)

    def letter() -> dict[str, Any]:
        return kept.requests._items(key.request_id, "letter#")[0]

    kept.sweep(deadlines.MESSAGE_IDS_KEPT - SOON)
    assert letter()["message_id"] == "id-of-ses"
    kept.sweep(deadlines.MESSAGE_IDS_KEPT)
    assert "message_id" not in letter()
    assert letter()["sent_at"]
    assert kept.requests.message_ids_over(NOW + deadlines.CASE_KEPT) == []
