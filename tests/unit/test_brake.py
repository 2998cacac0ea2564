"""The emergency brake: the store's part of it, and the operator's commands through their real entry point."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points

import pytest

from optout import settings
from optout.decisions import AcceptReason, Decision, RevokeReason
from optout.errors import ExclusionNotFound, HeadContended, SameReviewer
from optout.exclusions.fold import in_force
from optout.exclusions.log import Add, CurrentList, ExclusionLog, Remove, Suspend, Version
from optout.fingerprint import Fingerprint
from optout.requests import Answers, Kind, OptOutRequest, Photo, Revocation, Status, Step, Suspension
from optout.store import Requests
from tests.storage import storage

NOW = datetime.now(UTC)
ANSWERS = Answers("DE", "It is me", "Ada", "Lovelace", "ada@example.org")
PHOTO = Photo("t1", "ab" * 32, "cd" * 32, 640, 480, 90, tuple(bytes([n] * 32) for n in range(8)), None)
PICTURE = Fingerprint.from_signals(sha256=PHOTO.sha256, pdq=PHOTO.dihedral[0].hex(), quality=90)


@pytest.fixture
def requests() -> Iterator[Requests]:
    with storage():
        yield Requests(
            "Requests", ExclusionLog.from_settings(), settings.aws("dynamodb"), patience_s=1, pause=lambda seconds: None
        )


@pytest.fixture
def instance(requests: Requests) -> CurrentList:
    """A warm instance that has answered before anything happened."""
    copy = CurrentList(ExclusionLog.from_settings(), false_exclusions_per_million=1000, pause=lambda seconds: None)
    copy.refresh()
    return copy


def accepted(requests: Requests, photo: Photo = PHOTO) -> OptOutRequest:
    draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
    requests.add_photo(draft.id, photo, NOW)
    case = requests.confirm(draft.id, NOW)
    decision = Decision("d1", Step.ACCEPT, AcceptReason.SHOWS_REQUESTER, "", "anna")
    return requests.decide(case.id, decision, case.version, NOW)


def said(instance: CurrentList) -> tuple[str, str]:
    """What the next lookup of the picture answers."""
    verdict = instance.refresh().list.check(PICTURE, scopes=["image"])
    return str(verdict.verdict), str(verdict.reason)


def test_the_first_lookup_after_a_suspension_defers_and_the_first_after_resuming_excludes(
    requests: Requests, instance: CurrentList
) -> None:
    case = accepted(requests)
    (exclusion,) = case.exclusions
    assert said(instance) == ("exclude", "match")
    after = requests.suspend(exclusion, "anna", NOW)
    assert after is not None
    assert after.suspensions == (Suspension(exclusion, "anna", NOW, "1.2"),)
    assert said(instance) == ("defer", "suspended")
    assert instance.refresh().version == Version(1, 2)
    after = requests.resume(exclusion, "bo", NOW)
    assert after is not None
    assert after.suspensions == ()
    assert after == requests.get(case.id, NOW)
    assert said(instance) == ("exclude", "match")
    events = [(event.name, event.actor, event.exclusion_id) for event in requests.history(case.id)][-2:]
    assert events == [("suspend", "anna", exclusion), ("resume", "bo", exclusion)]


def test_another_accepted_exclusion_of_the_same_picture_still_excludes(
    requests: Requests, instance: CurrentList
) -> None:
    first, second = accepted(requests), accepted(requests)
    requests.suspend(first.exclusions[0], "anna", NOW)
    verdict = instance.refresh().list.check(PICTURE, scopes=["image"])
    assert verdict.verdict == "exclude"
    assert {match.exclusion_id for match in verdict.matches} == {second.exclusions[0]}
    requests.suspend(second.exclusions[0], "anna", NOW)
    assert said(instance) == ("defer", "suspended")


def test_suspending_twice_is_suspending_once_and_so_is_resuming(requests: Requests, instance: CurrentList) -> None:
    case = accepted(requests)
    first = requests.suspend(case.exclusions[0], "anna", NOW)
    assert requests.suspend(case.exclusions[0], "bo", NOW + timedelta(hours=1)) == first
    assert ExclusionLog.from_settings().head() == Version(1, 2)
    resumed = requests.resume(case.exclusions[0], "bo", NOW)
    assert requests.resume(case.exclusions[0], "anna", NOW) == resumed
    assert ExclusionLog.from_settings().head() == Version(1, 3)


def test_who_suspended_does_not_resume(requests: Requests, instance: CurrentList) -> None:
    case = accepted(requests)
    requests.suspend(case.exclusions[0], "anna", NOW)
    with pytest.raises(SameReviewer):
        requests.resume(case.exclusions[0], "anna", NOW)
    assert said(instance) == ("defer", "suspended")


def withdraw(requests: Requests, case: OptOutRequest) -> OptOutRequest:
    return requests.withdraw(case.id, NOW)


def revoke(requests: Requests, case: OptOutRequest) -> OptOutRequest:
    seen = requests.get(case.id, NOW)
    proposal = Revocation(RevokeReason.EXCLUDES_OTHERS, "it hits others", "anna", NOW)
    requests.propose_revocation(case.id, proposal, seen.version, NOW)
    return requests.confirm_revocation(case.id, "bo", NOW)


@pytest.mark.parametrize("end", [withdraw, revoke])
def test_a_suspended_exclusion_can_be_taken_off_the_list(
    requests: Requests, instance: CurrentList, end: Callable[[Requests, OptOutRequest], OptOutRequest]
) -> None:
    case = accepted(requests)
    requests.suspend(case.exclusions[0], "anna", NOW)
    assert end(requests, case).suspensions == ()
    assert len(instance.refresh().list) == 0
    for step in (requests.suspend, requests.resume):
        with pytest.raises(ExclusionNotFound):
            step(case.exclusions[0], "carl", NOW)


def test_what_is_accepted_again_after_a_suspension_excludes(requests: Requests, instance: CurrentList) -> None:
    case = accepted(requests)
    requests.suspend(case.exclusions[0], "anna", NOW)
    revoked = revoke(requests, case)
    appeal = Decision("d2", Step.ACCEPT_ON_APPEAL, AcceptReason.GOODWILL, "", "bo")
    after = requests.decide(case.id, appeal, revoked.version, NOW)
    assert (after.status, after.suspensions) == (Status.ACCEPTED, ())
    assert said(instance) == ("exclude", "match")


def test_an_exclusion_that_outlived_its_case_can_still_be_suspended(requests: Requests, instance: CurrentList) -> None:
    case = accepted(requests)
    requests.delete_case(case.id)
    for _ in range(2):
        assert requests.suspend(case.exclusions[0], "anna", NOW) is None
        assert said(instance) == ("defer", "suspended")
    assert ExclusionLog.from_settings().head() == Version(1, 2)
    assert requests.resume(case.exclusions[0], "anna", NOW) is None
    assert said(instance) == ("exclude", "match")
    client, log = settings.aws("dynamodb"), ExclusionLog.from_settings()
    client.transact_write_items(TransactItems=log.writes([Remove(case.exclusions[0])], log.head(), NOW))
    with pytest.raises(ExclusionNotFound):
        requests.suspend(case.exclusions[0], "anna", NOW)


def test_a_deleted_case_leaves_no_pointer(requests: Requests) -> None:
    case = accepted(requests)
    key = {"pk": {"S": f"exclusion#{case.exclusions[0]}"}, "sk": {"S": "case"}}
    client = settings.aws("dynamodb")
    assert client.get_item(TableName="Requests", Key=key)["Item"]["id"]["S"] == case.id
    requests.delete_case(case.id)
    assert "Item" not in client.get_item(TableName="Requests", Key=key)


def test_a_brake_that_cannot_be_written_changes_nothing(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    case = accepted(requests)
    monkeypatch.setattr(ExclusionLog, "head", lambda self: Version(1, 0))
    with pytest.raises(HeadContended):
        requests.suspend(case.exclusions[0], "anna", NOW)
    monkeypatch.undo()
    assert requests.get(case.id, NOW) == case
    assert ExclusionLog.from_settings().head() == Version(1, 1)


def test_every_exclusion_of_a_case_is_suspended_by_itself(requests: Requests, instance: CurrentList) -> None:
    links = replace(ANSWERS, links=("https://a.example/x", "https://a.example/y"), good_faith=True)
    case = requests.confirm(requests.create_draft(Kind.LINKS, links, "hash", NOW).id, NOW)
    decision = Decision("d1", Step.ACCEPT, AcceptReason.UNLAWFUL_CONTENT, "", "anna")
    case = requests.decide(case.id, decision, case.version, NOW)
    requests.suspend(case.exclusions[0], "anna", NOW)
    current = instance.refresh().list
    verdicts = [current.check(None, link, scopes=["link"]).verdict for link in links.links]
    assert verdicts == ["defer", "exclude"]
    assert requests.queue("suspended") == [requests.get(case.id, NOW)]
    assert requests.queue("accepted") == []


# ---- the operator's commands


def optout(*arguments: str) -> int:
    """The command as it is installed."""
    (script,) = entry_points(group="console_scripts", name="optout")
    return int(script.load()(list(arguments)))


def test_an_operator_suspends_and_another_resumes(
    requests: Requests, instance: CurrentList, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = accepted(requests)
    assert optout("suspend", case.exclusions[0]) == 0
    assert capsys.readouterr().out == (
        f"Suspended (case {case.number}). From the next lookup on, what it matches is held back and not excluded.\n"
    )
    assert said(instance) == ("defer", "suspended")
    (suspension,) = requests.get(case.id, NOW).suspensions
    assert suspension.actor == "operator/moto"
    assert optout("resume", case.exclusions[0]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "optout: you suspended it; somebody else must resume it.\n")
    monkeypatch.setattr("optout.cli._operator", lambda: "operator/bo")
    assert optout("resume", case.exclusions[0]) == 0
    assert capsys.readouterr().out.startswith(f"In force (case {case.number}).")
    assert said(instance) == ("exclude", "match")


@pytest.mark.parametrize("command", ["suspend", "resume"])
@pytest.mark.parametrize("unknown", ["nobody", "0" * 24, "", "x" * 500, "ä b"])
def test_an_unknown_id_is_one_clear_sentence(
    requests: Requests, capsys: pytest.CaptureFixture[str], command: str, unknown: str
) -> None:
    accepted(requests)
    assert optout(command, unknown) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "optout: no exclusion with this id is in force.\n")


def test_tables_are_named_by_option_or_by_variable(
    requests: Requests, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = accepted(requests)
    monkeypatch.delenv("REQUESTS_TABLE")
    monkeypatch.setenv("EXCLUSIONS_TABLE", "Nothing")
    assert optout("suspend", case.exclusions[0]) == 1
    assert "REQUESTS_TABLE" in capsys.readouterr().err
    monkeypatch.setenv("SNAPSHOTS_BUCKET", "nothing")
    named = ["--requests-table", "Requests", "--exclusions-table", "Exclusions", "--snapshots-bucket", "snapshots"]
    assert optout("suspend", case.exclusions[0], *named) == 0
    assert os.environ["EXCLUSIONS_TABLE"] == "Exclusions"


def test_a_table_that_is_not_there_is_one_sentence(requests: Requests, capsys: pytest.CaptureFixture[str]) -> None:
    assert optout("suspend", "x", "--requests-table", "Elsewhere") == 1
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("optout: AWS refused: ")


def test_the_log_alone_tells_the_state_of_an_exclusion(requests: Requests) -> None:
    case = accepted(requests)
    log, client = ExclusionLog.from_settings(), settings.aws("dynamodb")
    assert in_force(log, log.head(), case.exclusions[0])[case.exclusions[0]] == "accepted"
    assert in_force(log, log.head(), "nobody") == {}
    client.transact_write_items(TransactItems=log.writes([Suspend(case.exclusions[0])], log.head(), NOW))
    assert in_force(log, Version(1, 1), case.exclusions[0])[case.exclusions[0]] == "accepted"
    assert in_force(log, log.head(), case.exclusions[0])[case.exclusions[0]] == "suspended"
    readded = [change for item in log.tail(Version(1, 0)) for change in item.changes if isinstance(change, Add)]
    client.transact_write_items(TransactItems=log.writes([Remove(case.exclusions[0]), *readded], log.head(), NOW))
    assert in_force(log, log.head(), case.exclusions[0])[case.exclusions[0]] == "accepted"
