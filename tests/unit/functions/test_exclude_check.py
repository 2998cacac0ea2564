"""The lookup function, as API Gateway calls it: whatever is asked and whatever fails, never a false `allow`."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from optout import reviews, settings
from optout.errors import NotFresh
from optout.exclusions.entry import FaceExclusion, LinkExclusion, State, url_hash
from optout.exclusions.log import Add, Answer, Change, CurrentList, ExclusionLog, LogItem, Remove, Version
from optout.fingerprint.faces import FACE_MODEL
from optout.lookups import MAX_BODY_BYTES, MAX_ITEMS
from tests.pictures import picture as picture_bytes
from tests.storage import storage
from tests.unit.exclusions.test_snapshot import Place, cornered, corners_of, flip
from tests.unit.functions.api import event, load
from tests.unit.functions.events import Context, metric_values

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def function(capsys: pytest.CaptureFixture[str]) -> Iterator[ModuleType]:
    with storage():
        yield load("exclude_check")


def ask(function: ModuleType, body: Any, **headers: str) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    answer: dict[str, Any] = function.lambda_handler(event("POST", "/exclusions/check", text, headers), Context())
    return answer


def asked(function: ModuleType, *names: str, **lookup: Any) -> dict[str, Any]:
    answer = ask(function, {"items": [{"id": name, "url": address(name)} for name in names]} | lookup)
    assert answer["statusCode"] == 200
    found: dict[str, Any] = json.loads(answer["body"])
    return found


def verdicts(function: ModuleType, *names: str, **lookup: Any) -> list[str]:
    return [result["verdict"] for result in asked(function, *names, **lookup)["results"]]


def address(name: str) -> str:
    return f"https://a.example/{name}"


def add(name: str) -> Change:
    return Add(LinkExclusion(name, url_hash(address(name)), State.ACCEPTED))


def decide(*changes: Change) -> str:
    """Write one decision to the log; the version from which lookups honour it."""
    log, client = ExclusionLog.from_settings(), settings.aws("dynamodb")
    client.transact_write_items(TransactItems=log.writes(changes, log.head(), NOW))
    return str(log.head())


# ---- what is in force


def test_the_first_lookup_after_a_decision_honours_it(function: ModuleType) -> None:
    assert verdicts(function, "x") == ["allow"]
    for turn in range(5):
        version = decide(add(f"n{turn}"))
        found = asked(function, f"n{turn}", "x")
        assert found["version"] == version
        assert [result["verdict"] for result in found["results"]] == ["exclude", "allow"]
        decide(Remove(f"n{turn}"))
        assert verdicts(function, f"n{turn}") == ["allow"]


def test_an_answer_has_exactly_the_published_fields(function: ModuleType) -> None:
    decide(add("a"))
    found = asked(function, "a")
    assert set(found) == {"version", "as_of", "results"}
    (result,) = found["results"]
    assert datetime.fromisoformat(found["as_of"]).tzinfo is not None
    assert result == {
        "id": "a",
        "verdict": "exclude",
        "reason": "match",
        "retry_after_s": None,
        "coverage": ["image", "face", "link"],
        "depth": "hashes",
        "missing": [],
        "matches": [
            {"exclusion_id": "a", "scope": "link", "signal": "url", "distance": 0.0, "threshold": 0.0, "box": None}
        ],
    }


def test_warm_instances_at_different_versions_give_the_same_answer(function: ModuleType) -> None:
    other = load("exclude_check")
    assert other.current_list() is not function.current_list()
    decide(add("a"))
    assert verdicts(function, "a", "b") == ["exclude", "allow"]
    decide(add("b"))
    decide(Remove("a"))
    for instance in (other, function, other):
        found = asked(instance, "a", "b")
        assert found["version"] == "1.3"
        assert [result["verdict"] for result in found["results"]] == ["allow", "exclude"]


def test_a_lookup_can_ask_for_at_least_a_version(function: ModuleType) -> None:
    version = decide(add("a"))
    assert verdicts(function, "a", min_version=version) == ["exclude"]
    for version in ("1.2", "2.1", "0.1"):
        answer = ask(function, {"items": [], "min_version": version})
        assert answer["statusCode"] == 503


# ---- doubt


class PartlyVisible(ExclusionLog):
    """A log whose head is known while some of its items cannot be seen yet."""

    def __init__(self) -> None:
        super().__init__("Exclusions", None)
        self.at = Version(1, 0)
        self.visible: set[int] = set()

    def head(self) -> Version:
        return self.at

    def tail(self, after: Version) -> Iterator[LogItem]:
        return iter([LogItem(seq, (add(f"n{seq}"),)) for seq in sorted(self.visible) if seq > after.seq])


def reading(function: ModuleType, log: ExclusionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = CurrentList(log, false_exclusions_per_million=1000, pause=lambda seconds: None)
    monkeypatch.setattr(function, "current_list", lambda: copy)


def test_no_instance_answers_from_a_gap(function: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions 5, 6 and 7 commit; a Query shows 5 and 7 before 6. Two instances, one already at 4, one cold."""
    log = PartlyVisible()
    warm, cold = function, load("exclude_check")
    reading(warm, log, monkeypatch)
    reading(cold, log, monkeypatch)
    log.at, log.visible = Version(1, 4), {1, 2, 3, 4}
    assert verdicts(warm, "n4", "n5", "n6") == ["exclude", "allow", "allow"]
    log.at, log.visible = Version(1, 7), {1, 2, 3, 4, 5, 7}
    for instance in (warm, cold, warm):
        answer = ask(instance, {"items": [{"id": "a", "url": address("n6")}]})
        assert answer["statusCode"] == 503
        assert "results" not in answer["body"]
    log.visible.add(6)
    for instance in (cold, warm):
        found = asked(instance, "n5", "n6", "n7")
        assert found["version"] == "1.7"
        assert {result["verdict"] for result in found["results"]} == {"exclude"}


def test_pictures_are_refused_while_what_finds_their_copies_is_damaged_and_hashes_are_answered(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place()
    place.append(Add(cornered("a")))
    place.compact()
    reading(function, place.log, monkeypatch)
    key, begin = corners_of(place)
    place.spoil(key, flip(begin + 500))
    hashes = {"id": "h", "sha256": "ab" * 32, "pdq": "cd" * 32, "pdq_quality": 100}
    sent = hashes | {"id": "p", "picture": base64.b64encode(picture_bytes("astronaut.png")).decode()}
    for _ in range(2):
        answer = ask(function, {"items": [hashes, sent], "scopes": ["image"]})
        assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (503, "not_fresh")
        answer = ask(function, {"items": [hashes], "scopes": ["image"]})
        assert [result["verdict"] for result in json.loads(answer["body"])["results"]] == ["allow"]
    # Nor by who did not ask for them at the beginning.
    monkeypatch.setattr(function, "refresh", lambda lookup: function.current_list().refresh())
    answer = ask(function, {"items": [sent], "scopes": ["image"]})
    assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (503, "not_fresh")
    place.spoil(key, flip(begin + 500))
    answer = ask(function, {"items": [hashes, sent], "scopes": ["image"]})
    depths = [(result["verdict"], result["depth"]) for result in json.loads(answer["body"])["results"]]
    assert depths == [("allow", "hashes"), ("allow", "full")]


def test_a_list_that_is_not_fresh_is_said_to_be_and_nothing_is_allowed(
    function: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = ask(function, {"items": [{"id": "a", "url": address("a")}], "min_version": "1.9"})
    assert answer["statusCode"] == 503
    assert json.loads(answer["body"])["error"] == "not_fresh"
    assert int(answer["multiValueHeaders"]["Retry-After"][0]) > 0
    assert answer["multiValueHeaders"]["Content-Type"] == ["application/json"]
    assert metric_values(capsys.readouterr().out)["NotFresh"] == 1


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_a_table_that_does_not_answer_means_not_fresh(function: ModuleType, accept: str) -> None:
    assert verdicts(function, "a") == ["allow"]
    settings.aws("dynamodb").delete_table(TableName="Exclusions")
    answer = ask(function, {"items": [{"id": "a", "url": address("a")}]}, Accept=accept)
    assert answer["statusCode"] == 503
    assert json.loads(answer["body"])["error"] == "not_fresh"


def test_a_log_that_went_backwards_is_no_empty_list(function: ModuleType) -> None:
    decide(add("a"))
    assert verdicts(function, "a") == ["exclude"]
    client = settings.aws("dynamodb")
    for key in ({"pk": {"S": "head"}, "seq": {"N": "0"}}, {"pk": {"S": "log#1"}, "seq": {"N": "1"}}):
        client.delete_item(TableName="Exclusions", Key=key)
    assert ask(function, {"items": [{"id": "a", "url": address("a")}]})["statusCode"] == 503


# ---- what is asked


@pytest.mark.parametrize(
    ("body", "status", "problems"),
    [
        ("", 400, {"body": "not_json"}),
        ("{", 400, {"body": "not_json"}),
        ("[]", 400, {"body": "not_an_object"}),
        ("{}", 422, {"items": "missing"}),
        ({"items": [], "scopes": ["x"]}, 422, {"scopes.0": "enum"}),
        ({"items": [], "min_version": "x"}, 422, {"min_version": "not_a_version"}),
        ({"items": [{}] * (MAX_ITEMS + 1)}, 422, {"items": "too_long"}),
    ],
)
def test_what_is_no_lookup_is_refused_and_says_why(
    function: ModuleType, body: Any, status: int, problems: dict[str, str]
) -> None:
    answer = ask(function, body)
    assert answer["statusCode"] == status
    found = json.loads(answer["body"])
    assert found["problems"] == problems
    assert all(f"{field}: {code}" in found["message"] for field, code in problems.items())


def test_a_body_that_is_too_large_is_told_the_limit(function: ModuleType) -> None:
    answer = ask(function, {"items": [{"id": "a", "picture": "x" * MAX_BODY_BYTES}]})
    assert answer["statusCode"] == 413
    assert json.loads(answer["body"])["limit"] == MAX_BODY_BYTES
    assert str(MAX_BODY_BYTES) in json.loads(answer["body"])["message"]


def test_a_body_may_come_in_base64(function: ModuleType) -> None:
    encoded = event("POST", "/exclusions/check", "eyJpdGVtcyI6IFtdfQ==") | {"isBase64Encoded": True}
    assert function.lambda_handler(encoded, Context())["statusCode"] == 200
    assert function.lambda_handler(encoded | {"body": "%%%"}, Context())["statusCode"] == 400


def test_a_full_lookup_is_answered_whole(function: ModuleType) -> None:
    decide(add("n7"))
    found = verdicts(function, *(f"n{number}" for number in range(MAX_ITEMS)))
    assert [number for number, verdict in enumerate(found) if verdict == "exclude"] == [7]
    assert found.count("allow") == MAX_ITEMS - 1


def test_answers_are_counted_and_nothing_that_was_asked_is_logged(
    function: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    decide(add("secret-path"))
    sha256, pdq = "ab" * 32, "cd" * 32
    ask(
        function,
        {
            "items": [
                {"id": "planted-id", "url": address("secret-path"), "sha256": sha256, "pdq": pdq},
                {"id": "b", "url": "https://secret-host"},
                {"id": "c", "url": "secret-text"},
            ]
        },
    )
    ask(function, {"items": [], "min_version": "secret-version"})
    output = capsys.readouterr()
    counted = {"Lookups": 3, "VerdictExclude": 1, "VerdictAllow": 1, "VerdictInvalid": 1}
    assert counted.items() <= metric_values(output.out).items()
    for planted in ("secret", "planted-id", sha256, pdq):
        assert planted not in output.out + output.err


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
_LOOKUPS = st.fixed_dictionaries(
    {"items": st.lists(_JSON | st.fixed_dictionaries({"id": st.text(max_size=2), "url": st.text(max_size=5)}))},
    optional={"min_version": _JSON | st.just("1.0"), "scopes": _JSON | st.just(["link"])},
)


@pytest.mark.filterwarnings("ignore:No application metrics to publish")
@hypothesis(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given((_JSON | _LOOKUPS).map(json.dumps) | st.text(max_size=20))
def test_no_body_makes_it_fail(function: ModuleType, body: str) -> None:
    answer = ask(function, body)
    assert answer["statusCode"] in {200, 400, 422, 503}
    json.dumps(answer).encode()
    json.loads(answer["body"])


def test_what_is_unexpected_is_an_error_and_no_answer(function: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise NotFresh("x")

    monkeypatch.setattr("optout.lookups.answer", fail)
    answer = ask(function, {"items": [{"id": "a", "url": address("a")}]})
    assert answer["statusCode"] == 503
    assert "results" not in answer["body"]


# ---- the warning light


def crawl(function: ModuleType, first: int, count: int, *, hit: str = "") -> None:
    """A call about `count` different addresses; `hit` of them is the same everywhere but for its name."""
    items = [{"id": str(number), "url": address(f"p{number}")} for number in range(first, first + count)]
    if hit:
        items = [{"id": f"h{number}", "url": address(hit)} for number in range(first, first + count)]
    assert ask(function, {"items": items})["statusCode"] == 200


def hits_of(count: int) -> str:
    """One exclusion of this many addresses, as one that hits too much would be."""
    return decide(
        *(Add(LinkExclusion("greedy", url_hash(address(f"p{number}")), State.ACCEPTED)) for number in range(count))
    )


def logged(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    """What was logged under this message since the last look."""
    return [vars(record) for record in caplog.records if record.getMessage() == message]


def test_an_exclusion_that_hits_too_much_is_named_once_and_its_share_is_measured(
    function: ModuleType, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    hits_of(30)
    crawl(function, 0, 999)
    assert "ExclusionHitShare" not in metric_values(capsys.readouterr().out)
    assert logged(caplog, "exclusion hits too much") == []
    (hit,) = logged(caplog, "exclusion hit")
    assert (hit["exclusion_id"], hit["hits"]) == ("greedy", 30)

    crawl(function, 999, 501)
    assert metric_values(capsys.readouterr().out)["ExclusionHitShare"] == 2
    (warning,) = logged(caplog, "exclusion hits too much")
    told = {name: warning[name] for name in ("exclusion_id", "hits", "candidates", "share_percent")}
    assert told == {"exclusion_id": "greedy", "hits": 30, "candidates": 1500, "share_percent": 2.0}

    caplog.clear()
    crawl(function, 1500, 500)
    assert metric_values(capsys.readouterr().out)["ExclusionHitShare"] == 1.5
    assert logged(caplog, "exclusion hits too much") == []


def test_the_warning_comes_again_after_the_share_was_small(
    function: ModuleType, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits_of(30)
    for percent, warnings in (("1", 1), ("1", 0), ("5", 0), ("1", 1)):
        caplog.clear()
        monkeypatch.setenv("HIT_SHARE_ALARM_PERCENT", percent)
        crawl(function, 0, 1000)
        assert len(logged(caplog, "exclusion hits too much")) == warnings


def test_one_popular_picture_raises_no_warning(
    function: ModuleType, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    hits_of(1)
    crawl(function, 0, 1000)
    for _ in range(3):
        crawl(function, 0, 1000, hit="p0")
    assert metric_values(capsys.readouterr().out)["ExclusionHitShare"] == 0
    assert logged(caplog, "exclusion hits too much") == []
    assert sum(line["hits"] for line in logged(caplog, "exclusion hit")) == 3001


def test_lines_about_hits_name_no_address_and_are_bounded(
    function: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    decide(*(add(f"p{number}") for number in range(150)))
    crawl(function, 0, 1000)
    lines = logged(caplog, "exclusion hit")
    assert len(lines) == 100
    assert "a.example" not in str(lines)


# ---- what a person must look at

CANDIDATE = "ab" * 32


def vector(likeness: float = 1.0, towards: int = 0) -> bytes:
    numbers = np.zeros(128, dtype="<f4")
    numbers[towards], numbers[127] = likeness, np.sqrt(1 - likeness**2)
    return numbers.tobytes()


@pytest.fixture
def people(function: ModuleType) -> list[str]:
    """Two listed people; a face of cosine .445 is in the band of the first, on a list that sends many to review."""
    os.environ["REVIEWS_PER_DAY"] = "100000"
    names = ["person-0", "person-1"]
    decide(
        *(Add(FaceExclusion(name, (vector(1, n),), FACE_MODEL, State.ACCEPTED)) for n, name in enumerate(names)),
    )
    return names


def doubted(function: ModuleType, *items: dict[str, Any]) -> list[str]:
    face = base64.b64encode(vector(0.445)).decode()
    seen = [{"id": str(number), "faces": [face], "faces_model": FACE_MODEL} | item for number, item in enumerate(items)]
    answer = ask(function, {"items": seen, "scopes": ["face"]})
    assert answer["statusCode"] == 200
    return [result["verdict"] for result in json.loads(answer["body"])["results"]]


def queued() -> list[reviews.Doubt]:
    answer = settings.aws("sqs").receive_message(QueueUrl=settings.reviews_url(), MaxNumberOfMessages=10)
    return [doubt for message in answer.get("Messages", []) for doubt in reviews.from_message(message["Body"])]


SEEN = {"url": "https://pictures.lens.example/1.jpg", "sha256": CANDIDATE}


def test_a_doubtful_hit_goes_to_a_person_once(
    function: ModuleType, people: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert doubted(function, SEEN) == ["review"]
    [doubt] = queued()
    assert (doubt.sha256, doubt.exclusion_id, doubt.url) == (CANDIDATE, people[0], SEEN["url"])
    [sign] = doubt.signs
    assert sign.signal == "face"
    assert sign.distance == pytest.approx(1 - 0.445, abs=1e-4)
    assert doubted(function, SEEN, SEEN | {"sha256": "cd" * 32}) == ["review", "review"]
    assert [each.sha256 for each in queued()] == ["cd" * 32]
    assert SEEN["url"] not in capsys.readouterr().out


def test_what_nobody_can_look_at_is_held_back_all_the_same(
    function: ModuleType, people: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert doubted(function, {"sha256": CANDIDATE}, {"url": SEEN["url"]}) == ["review", "review"]
    assert queued() == []
    assert metric_values(capsys.readouterr().out)["ReviewsUnseen"] == 2


def test_a_queue_that_does_not_answer_changes_no_verdict_and_the_next_call_tries_again(
    function: ModuleType,
    people: list[str],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = settings.reviews_url()
    monkeypatch.setenv("REVIEWS_URL", url + "-gone")
    assert doubted(function, SEEN) == ["review"]
    assert metric_values(capsys.readouterr().out)["ReviewsNotQueued"] == 1
    assert "doubtful hits not passed on" in caplog.messages
    monkeypatch.setenv("REVIEWS_URL", url)
    assert doubted(function, SEEN) == ["review"]
    assert len(queued()) == 1


def test_one_call_passes_on_a_bounded_number(
    function: ModuleType, people: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    many = [SEEN | {"sha256": f"{number:064x}"} for number in range(reviews.MAX_DOUBTS + 2)]
    assert set(doubted(function, *many)) == {"review"}
    assert metric_values(capsys.readouterr().out)["ReviewsNotQueued"] == 2
    assert len(queued()) == reviews.MAX_DOUBTS
    doubted(function, *many)
    assert len(queued()) == 2


def test_a_persons_answer_is_honoured_by_the_next_lookup(function: ModuleType, people: list[str]) -> None:
    for same, verdict in ((False, "allow"), (True, "exclude")):
        assert doubted(function, SEEN) == (["review"] if not same else ["allow"])
        decide(Answer(people[0], CANDIDATE, same))
        assert doubted(function, SEEN, SEEN | {"sha256": "cd" * 32}) == [verdict, "review"]
