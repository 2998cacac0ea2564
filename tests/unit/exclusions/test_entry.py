import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout.errors import RequestInvalid
from optout.exclusions.entry import (
    Exclusion,
    FaceExclusion,
    ImageExclusion,
    LinkExclusion,
    State,
    UnknownEntry,
    canonical_url,
    from_item,
    to_item,
    url_hash,
)

code = st.binary(min_size=32, max_size=32)
states = st.sampled_from(State)
exclusions: st.SearchStrategy[Exclusion] = st.one_of(
    st.builds(
        ImageExclusion,
        st.text(min_size=1),
        code.map(bytes.hex),
        st.one_of(st.just(()), st.tuples(*[code] * 8)),
        states,
    ),
    st.builds(
        FaceExclusion,
        st.text(min_size=1),
        st.lists(st.binary(min_size=512, max_size=512), min_size=1, max_size=5).map(tuple),
        st.text(min_size=1),
        states,
    ),
    st.builds(LinkExclusion, st.text(min_size=1), code, states),
)


@given(exclusions)
def test_an_item_holds_the_whole_exclusion(exclusion: Exclusion) -> None:
    assert from_item(to_item(exclusion)) == exclusion


@given(exclusions)
def test_an_item_is_made_of_what_dynamodb_stores_without_empty_values(exclusion: Exclusion) -> None:
    for value in to_item(exclusion).values():
        parts = value if isinstance(value, list) else [value]
        assert parts
        assert all(isinstance(part, str | int | bytes) and part != b"" for part in parts)


@given(exclusions, st.sampled_from(["v", "id", "scope", "state", "sha256", "embeddings", "model", "url_hash"]))
def test_an_item_without_a_part_is_unknown(exclusion: Exclusion, part: str) -> None:
    item = to_item(exclusion)
    if item.pop(part, None) is not None:
        with pytest.raises(UnknownEntry):
            from_item(item)


@pytest.mark.parametrize(
    "change", [{"v": 3}, {"scope": "voice"}, {"state": "maybe"}, {"url_hash": b"short"}, {"v": "x"}]
)
def test_an_item_of_another_version_or_kind_is_unknown(change: dict[str, object]) -> None:
    item = to_item(LinkExclusion("a", bytes(32), State.ACCEPTED))
    with pytest.raises(UnknownEntry):
        from_item({**item, **change})


def test_signals_of_the_wrong_size_are_no_exclusion() -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        ImageExclusion("a", "AB" * 32, (), State.ACCEPTED)
    with pytest.raises(ValueError, match="32 bytes"):
        ImageExclusion("a", "ab" * 32, (b"x",), State.ACCEPTED)
    with pytest.raises(ValueError, match="512"):
        FaceExclusion("a", (), "model", State.ACCEPTED)
    with pytest.raises(ValueError, match="SHA-256"):
        LinkExclusion("a", b"", State.ACCEPTED)


SPELLINGS = {
    "https://example.com/": [
        "https://example.com",
        "HTTPS://EXAMPLE.com:443/",
        "https://example.com/#top",
        "https://example.com/?",
        "https://example.com/?utm_source=mail&UTM_Medium=x&fbclid=1&gclid=2",
        "  https://exa\nmple.com/\t",
        "https://user:secret@example.com/",
        "https://example.com./",
        "https:\\\\example.com\\",
        "https://example.com/a/..",
        "https://example.com/./a/../.",
        "https://%65xample.com/",
    ],
    "http://example.com:8080/a/b?x=1&y=2": [
        "http://example.com:8080/a/./c/../b?x=1&y=2#z",
        "http://example.com:8080/%61/b?x=1&utm_campaign=z&y=2",
        "http://example.com:8080/a/%2e/b?x=1&&y=2",
    ],
    "https://xn--bcher-kva.example/%C3%BC?q=%C3%A4+b": [
        "https://Bücher.example/ü?q=ä+b",
        "https://bücher.example/%c3%bc?q=%C3%A4+b",
    ],
    "http://[2001:db8::1]/": ["http://[2001:0DB8:0:0::1]:80/"],
    "https://example.com/a%20b/%2F": ["https://example.com/a b/%2f"],
    "https://example.com/A/?a=B": ["https://EXAMPLE.com/A/?a=B"],
    "https://example.com/a?next=https://other.example/?utm_source=x": [
        "https://example.com/a?next=https://other.example/?utm_source=x"
    ],
}


@pytest.mark.parametrize(("canonical", "spelling"), [(one, other) for one, all_ in SPELLINGS.items() for other in all_])
def test_every_spelling_of_an_address_is_one_address(canonical: str, spelling: str) -> None:
    assert canonical_url(spelling) == canonical
    assert canonical_url(canonical) == canonical
    assert url_hash(spelling) == url_hash(canonical)
    assert len(url_hash(spelling)) == 32


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://example.com/a", "https://example.com/A"),
        ("https://example.com/a", "https://example.com/a/"),
        ("https://example.com/a", "http://example.com/a"),
        ("https://example.com/?a=1&b=2", "https://example.com/?b=2&a=1"),
        ("https://example.com/?id=1", "https://example.com/?id=2"),
        ("https://example.com/a%2Fb", "https://example.com/a/b"),
        ("https://example.com/?a=1%262", "https://example.com/?a=1&2"),
        ("https://www.example.com/", "https://example.com/"),
    ],
)
def test_different_addresses_stay_different(one: str, other: str) -> None:
    assert url_hash(one) != url_hash(other)


@pytest.mark.parametrize(
    "text",
    ["", " ", "example.com", "/a", "//example.com/a", "ftp://example.com/", "javascript:alert(1)", "https://",
     "https:///a", "https://exa mple.com/", "https://example.com:99999/", "https://example.com:x/", "http://[::1/",
     f"https://{'ü' * 70}.example/",
     "data:text/html,x", "mailto:a@example.com"],
)  # fmt: skip
def test_what_is_no_web_address_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        canonical_url(text)
    assert refused.value.problems == {"url": "not_a_web_address"}


def test_an_endless_address_is_refused_and_not_repeated_in_the_error() -> None:
    with pytest.raises(RequestInvalid) as refused:
        canonical_url("https://example.com/" + "secret" * 1000)
    assert refused.value.problems == {"url": "too_long"}
    assert "secret" not in str(refused.value)


@given(st.text())
def test_any_text_is_an_address_with_one_spelling_or_refused(text: str) -> None:
    for candidate in (text, f"https://example.com/{text}", f"https://{text}.example/?{text}"):
        try:
            canonical = canonical_url(candidate)
        except RequestInvalid:
            continue
        assert canonical_url(canonical) == canonical
        assert canonical.isascii()


def test_page_functions_can_import_entries_without_numpy() -> None:
    modules = ["numpy", "PIL", "cv2", "boto3"]
    script = f"import sys, optout, optout.exclusions.entry; print([m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"
