"""The notify function: stream, queue and schedules, as AWS calls it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest
from botocore.exceptions import ClientError
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID

from local.place import REPOSITORY
from optout import reviews, settings
from optout.decisions import AcceptReason, Decision
from optout.mail.outbox import MAX_RECEIVES
from optout.requests import Answers, Kind, Lane, MailTrouble, Step
from optout.store import LETTER_GRACE, LetterKey, Requests
from tests.storage import REGION, storage
from tests.unit.functions.api import load
from tests.unit.functions.events import Context, metric_values, queue_record, stream_record
from tests.unit.mail.ses_reports import message as reported

# Planted, so that a test can look for them where they must not be.
PERSONAL = ("Adalbert", "Lovelace", "ada@example.org", "+49301234567", "my secret story", "https://a.example/1")
ANSWERS = Answers(
    "DE", PERSONAL[4], PERSONAL[0], PERSONAL[1], PERSONAL[2], PERSONAL[3], links=(PERSONAL[5],), good_faith=True
)
# Powertools warns when a run that failed had nothing to count.
EMPTY = pytest.mark.filterwarnings("ignore:No application metrics to publish")


@pytest.fixture
def notify(capsys: pytest.CaptureFixture[str]) -> Iterator[ModuleType]:
    with storage():
        yield load("notify")


def due_letter(age: timedelta = timedelta()) -> LetterKey:
    requests = Requests.from_settings()
    confirmed_at = datetime.now(UTC) - age
    case = requests.confirm(requests.create_draft(Kind.LINKS, ANSWERS, "hash", confirmed_at).id, confirmed_at)
    return LetterKey(case.id, case.version)


def queued() -> list[LetterKey]:
    answer = settings.aws("sqs").receive_message(QueueUrl=settings.mail_queue_url(), MaxNumberOfMessages=10)
    return [LetterKey.from_json(message["Body"]) for message in answer.get("Messages", [])]


def sent_to() -> list[str]:
    messages = get_backend("ses")[DEFAULT_ACCOUNT_ID][REGION].sent_messages
    # moto counts the To header besides the destination.
    return [address for message in messages for address in dict.fromkeys(message.destinations)]


def failing_ses() -> None:
    settings.aws("sesv2").delete_email_identity(EmailIdentity=settings.sender())


def test_only_new_letters_of_the_stream_reach_the_queue(notify: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        stream_record("case#a", "letter#000002"),
        stream_record("case#b", "letter#000003", "MODIFY"),
        stream_record("case#c", "letter#000004", "REMOVE"),
        stream_record("case#d", "case"),
        stream_record("case#e", "event#000002"),
    ]
    assert notify.lambda_handler({"Records": records}, Context()) == {"batchItemFailures": []}
    assert queued() == [LetterKey("a", 2)]
    assert metric_values(capsys.readouterr().out) == {"LettersForwarded": 1}


@EMPTY
def test_a_queue_that_does_not_take_a_letter_stops_the_stream(notify: ModuleType) -> None:
    event = {"Records": [stream_record("case#a", "letter#000002")]}
    settings.aws("sqs").delete_queue(QueueUrl=settings.mail_queue_url())
    with pytest.raises(ClientError):
        notify.lambda_handler(event, Context())


def test_a_message_sends_its_letter(notify: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    event = {"Records": [queue_record(due_letter().to_json())]}
    assert notify.lambda_handler(event, Context()) == {"batchItemFailures": []}
    assert sent_to() == ["ada@example.org"]
    assert metric_values(capsys.readouterr().out) == {"LettersSent": 1, "LettersFailed": 0}
    assert notify.lambda_handler(event, Context()) == {"batchItemFailures": []}
    assert sent_to() == ["ada@example.org"]


def test_one_broken_message_does_not_hold_up_the_others(notify: ModuleType) -> None:
    bodies = ["", "null", "{}", '{"request_id": 1}', due_letter().to_json()]
    records = [queue_record(body, message_id=f"m{number}") for number, body in enumerate(bodies)]
    answer = notify.lambda_handler({"Records": records}, Context())
    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == ["m0", "m1", "m2", "m3"]
    assert sent_to() == ["ada@example.org"]


def test_a_letter_that_ses_refuses_comes_again_until_it_is_parked(
    notify: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    key = due_letter(LETTER_GRACE * 2)
    failing_ses()
    assert notify.lambda_handler({"sweep": "letters"}, Context()) == {"late": 1}
    for received in range(1, MAX_RECEIVES + 1):
        assert notify.lambda_handler({"sweep": "letters"}, Context()) == {"late": 0}, "SQS has it"
        answer = notify.lambda_handler({"Records": [queue_record(key.to_json(), received)]}, Context())
        assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
        assert metric_values(capsys.readouterr().out)["LettersFailed"] == 1
    assert notify.lambda_handler({"sweep": "letters"}, Context()) == {"late": 0}
    settings.aws("sesv2").create_email_identity(EmailIdentity=settings.sender())
    redriven = {"Records": [queue_record(key.to_json(), received=1)]}
    assert notify.lambda_handler(redriven, Context()) == {"batchItemFailures": []}
    assert sent_to() == ["ada@example.org"]


def test_what_there_is_no_time_for_comes_again(notify: ModuleType) -> None:
    event = {"Records": [queue_record(due_letter().to_json())]}
    answer = notify.lambda_handler(event, Context(remaining_ms=1_000))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert sent_to() == []


def test_the_sweep_sends_only_letters_that_the_stream_had_time_for(
    notify: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    late = due_letter(LETTER_GRACE + timedelta(seconds=30))
    due_letter(LETTER_GRACE / 2)
    assert notify.lambda_handler({"sweep": "letters"}, Context()) == {"late": 1}
    assert queued() == [late]
    assert metric_values(capsys.readouterr().out)["LettersLate"] == 1


def test_the_sweep_says_how_long_the_most_urgent_undecided_case_has_left(
    notify: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    notify.lambda_handler({"sweep": "letters"}, Context())
    assert "OldestUndecidedMinutesToDue" not in metric_values(capsys.readouterr().out), "nothing waits"
    due_letter(timedelta(days=1))
    due_letter(timedelta(days=6))
    notify.lambda_handler({"sweep": "letters"}, Context())
    assert metric_values(capsys.readouterr().out)["OldestUndecidedMinutesToDue"] == pytest.approx(24 * 60, abs=2)


@pytest.mark.parametrize("waits_for", ["answer", "appeal"])
def test_a_case_that_waits_for_an_answer_or_an_appeal_is_no_less_urgent(
    notify: ModuleType, capsys: pytest.CaptureFixture[str], waits_for: str
) -> None:
    requests, now = Requests.from_settings(), datetime.now(UTC)
    key = due_letter(timedelta(days=6, hours=12))
    if waits_for == "answer":
        requests.ask(key.request_id, "Which one?", "anna", key.version, now)
        minutes_left = 12 * 60
    else:
        made = Decision("d", Step.REJECT, "no_match", "not found", "anna")
        requests.decide(key.request_id, made, None, now)
        requests.appeal(key.request_id, "No.", now)
        minutes_left = 14 * 24 * 60
    notify.lambda_handler({"sweep": "letters"}, Context())
    left = metric_values(capsys.readouterr().out)["OldestUndecidedMinutesToDue"]
    assert left == pytest.approx(minutes_left, abs=2)


def test_urgent_cases_have_a_clock_of_their_own(notify: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    requests, now = Requests.from_settings(), datetime.now(UTC)
    for lane in (Lane.ORDINARY, Lane.INTIMATE):
        requests.confirm(requests.create_draft(Kind.LINKS, ANSWERS, "hash", now, lane=lane).id, now)
    notify.lambda_handler({"sweep": "letters"}, Context())
    said = metric_values(capsys.readouterr().out)
    assert said["UrgentMinutesToDue"] == pytest.approx(24 * 60, abs=2)
    assert said["OldestUndecidedMinutesToDue"] == pytest.approx(7 * 24 * 60, abs=2)


def test_an_overdue_appeal_does_not_hide_an_urgent_one(notify: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    requests, now = Requests.from_settings(), datetime.now(UTC)
    made = Decision("d", Step.REJECT, "no_match", "not found", "anna")
    for lane, appealed in ((Lane.ORDINARY, now - timedelta(days=15)), (Lane.INTIMATE, now)):
        case = requests.confirm(requests.create_draft(Kind.LINKS, ANSWERS, "hash", appealed, lane=lane).id, appealed)
        requests.decide(case.id, made, None, appealed)
        requests.appeal(case.id, "No.", appealed)
    notify.lambda_handler({"sweep": "letters"}, Context())
    said = metric_values(capsys.readouterr().out)
    assert said["UrgentMinutesToDue"] == pytest.approx(24 * 60, abs=2)
    assert said["OldestUndecidedMinutesToDue"] == pytest.approx(-24 * 60, abs=2)


def message_id(key: LetterKey) -> str:
    """Under which SES took a letter."""
    item = settings.aws("dynamodb").get_item(
        TableName="Requests", Key={name: {"S": value} for name, value in key.keys.items()}
    )["Item"]
    return str(item["message_id"]["S"])


def test_a_bounce_marks_its_case_and_the_next_letter_is_not_sent(
    notify: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    key = due_letter()
    notify.lambda_handler({"Records": [queue_record(key.to_json())]}, Context())
    capsys.readouterr()
    report = queue_record(reported(message_id(key)), queue="Receipts")
    assert notify.lambda_handler({"Records": [report, report]}, Context()) == {"batchItemFailures": []}
    assert metric_values(capsys.readouterr().out) == {"Bounces": 1, "ReceiptsFailed": 0}
    requests = Requests.from_settings()
    problem = requests.get(key.request_id, datetime.now(UTC)).mail_problem
    assert problem is not None
    assert problem.trouble is MailTrouble.BOUNCED

    other = due_letter()
    notify.lambda_handler({"Records": [queue_record(other.to_json())]}, Context())
    assert metric_values(capsys.readouterr().out) == {"LettersSuppressed": 1, "LettersSent": 0, "LettersFailed": 0}
    assert sent_to() == ["ada@example.org"]
    problem = requests.get(other.request_id, datetime.now(UTC)).mail_problem
    assert problem is not None
    assert problem.trouble is MailTrouble.SUPPRESSED


def test_every_kind_of_report_is_counted_by_its_name(notify: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, bounce_type, name in (
        ("Bounce", "Transient", "BouncesTemporary"),
        ("Reject", "", "Rejects"),
        ("Bounce", "Permanent", "Bounces"),
        ("Complaint", "", "Complaints"),
    ):
        requests = Requests.from_settings()
        case = requests.confirm(
            requests.create_draft(Kind.LINKS, ANSWERS, f"hash-{name}", datetime.now(UTC)).id, datetime.now(UTC)
        )
        requests.letter_sent(LetterKey(case.id, case.version), f"id-{name}", datetime.now(UTC))
        body = reported(f"id-{name}", kind, bounce_type=bounce_type)
        notify.lambda_handler({"Records": [queue_record(body, queue="Receipts")]}, Context())
        assert metric_values(capsys.readouterr().out) == {name: 1, "ReceiptsFailed": 0}


def test_a_report_that_cannot_be_noted_comes_again_and_holds_up_no_other(
    notify: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    key = due_letter()
    notify.lambda_handler({"Records": [queue_record(key.to_json())]}, Context())
    capsys.readouterr()
    old = datetime.now(UTC) - timedelta(minutes=6)
    bodies = ["nonsense", reported("not-noted-yet"), reported("of-nobody", at=old), reported(message_id(key))]
    records = [queue_record(body, message_id=f"m{number}", queue="Receipts") for number, body in enumerate(bodies)]
    answer = notify.lambda_handler({"Records": records}, Context())
    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == ["m0", "m1"]
    captured = capsys.readouterr()
    assert metric_values("\n".join(line for line in captured.out.splitlines() if "_aws" in line)) == {
        "Bounces": 1,
        "ReceiptsUnmatched": 1,
        "ReceiptsFailed": 2,
    }


def test_the_retention_sweep_counts_what_it_deleted(notify: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    Requests.from_settings().create_draft(Kind.LINKS, ANSWERS, "hash", datetime.now(UTC) - timedelta(days=2))
    assert notify.lambda_handler({"sweep": "retention"}, Context())["drafts"] == 1
    assert metric_values(capsys.readouterr().out)["RetentionDrafts"] == 1


def test_a_retention_sweep_that_left_something_behind_raises_the_alarm(
    notify: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    Requests.from_settings().create_draft(Kind.LINKS, ANSWERS, "hash", datetime.now(UTC) - timedelta(days=2))
    settings.aws("s3").delete_bucket(Bucket=settings.photos_bucket())
    with pytest.raises(RuntimeError):
        notify.lambda_handler({"sweep": "retention"}, Context())


@EMPTY
@pytest.mark.parametrize("event", [{}, {"Records": []}, {"sweep": "else"}, {"Records": [{"eventSource": "aws:s3"}]}])
def test_an_event_of_no_source_is_an_error(notify: ModuleType, event: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no source"):
        notify.lambda_handler(event, Context())


def test_logs_and_metrics_hold_nothing_personal(notify: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    key = due_letter(LETTER_GRACE * 2)
    message = {"Records": [queue_record(key.to_json())]}
    notify.lambda_handler({"Records": [stream_record(*key.keys.values())]}, Context())
    notify.lambda_handler({"sweep": "letters"}, Context())
    failing_ses()
    notify.lambda_handler(message, Context())
    settings.aws("sesv2").create_email_identity(EmailIdentity=settings.sender())
    notify.lambda_handler(message, Context())
    notify.lambda_handler({"sweep": "retention"}, Context())
    for kind in ("Bounce", "Complaint", "Reject"):
        for known in (message_id(key), "unknown"):
            notify.lambda_handler({"Records": [queue_record(reported(known, kind), queue="Receipts")]}, Context())
    captured = capsys.readouterr()
    output = captured.out + captured.err
    assert "letter not sent" in output
    assert "report not noted" in output
    for planted in (*PERSONAL, key.request_id, "/status/"):
        assert planted not in output


def test_it_needs_nothing_of_the_vision_layer() -> None:
    """In AWS this function has no numpy, Pillow or OpenCV."""
    code = (
        "import sys; [sys.modules.__setitem__(name, None) for name in ('numpy', 'PIL', 'cv2')];"
        "from tests.unit.functions.api import load; load('notify')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, timeout=60)  # noqa: S603


# ---- doubtful hits


def possible_copy(exclusion_id: str, number: int = 0) -> reviews.Doubt:
    sign = reviews.Sign("picture", 0.6, 0.7)
    return reviews.Doubt(f"{number:064x}", exclusion_id, "https://pictures.lens.example/1.jpg", (sign,))


def listed_exclusion() -> str:
    requests, now = Requests.from_settings(), datetime.now(UTC)
    case = requests.confirm(requests.create_draft(Kind.LINKS, ANSWERS, "hash", now).id, now)
    decision = Decision("d", Step.ACCEPT, AcceptReason.UNLAWFUL_CONTENT, "", "anna")
    return requests.decide(case.id, decision, None, now).exclusions[0]


def test_doubtful_hits_are_kept_once_for_a_reviewer(notify: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    excluded = listed_exclusion()
    doubts = [possible_copy(excluded), possible_copy(excluded, 1), possible_copy("gone")]
    records = [queue_record(reviews.to_message(doubts), queue="Reviews")] * 2
    assert notify.lambda_handler({"Records": records}, Context()) == {"batchItemFailures": []}
    assert {each.doubt for each in Requests.from_settings().open_reviews()} == set(doubts[:2])
    assert metric_values(capsys.readouterr().out) == {"ReviewsKept": 2}


def test_a_message_of_doubts_that_cannot_be_read_comes_again_alone(notify: ModuleType) -> None:
    excluded = listed_exclusion()
    good = queue_record(reviews.to_message([possible_copy(excluded)]), message_id="m1", queue="Reviews")
    bad = queue_record("{", message_id="m2", queue="Reviews")
    answer = notify.lambda_handler({"Records": [bad, good]}, Context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m2"}]}
    assert len(Requests.from_settings().open_reviews()) == 1


def test_the_minute_sweep_says_how_many_wait_and_how_long(
    notify: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    requests, now = Requests.from_settings(), datetime.now(UTC)
    excluded = listed_exclusion()
    notify.lambda_handler({"sweep": "letters"}, Context())
    counted = metric_values(capsys.readouterr().out)
    assert counted["ReviewsOpen"] == 0
    assert "OldestReviewMinutes" not in counted
    for number, hours in enumerate((1, 3)):
        requests.add_review(possible_copy(excluded, number), now - timedelta(hours=hours))
    notify.lambda_handler({"sweep": "letters"}, Context())
    counted = metric_values(capsys.readouterr().out)
    assert counted["ReviewsOpen"] == 2
    assert 180 <= counted["OldestReviewMinutes"] < 182
