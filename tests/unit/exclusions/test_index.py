"""Every search must find what comparing all codes one by one finds: no more, no less, whatever layer it is in."""

import hashlib
import platform
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray

from infra import build
from optout.errors import IndexDamaged
from optout.exclusions import index as module
from optout.exclusions import kernel
from optout.exclusions.index import HammingIndex

Codes = NDArray[np.uint8]
Masks = tuple[NDArray[np.uint16], NDArray[np.uint8]]
codes = st.binary(min_size=32, max_size=32)
ENGINES = ("numpy", "compiled", "plain")


@cache
def engine_named(name: str) -> kernel.Kernel | None:
    """What searches: NumPy, the kernel, or the kernel kept to what every processor has. Compiled as for a deployment,
    but for this machine, so that no compiler is needed here."""
    if name == "numpy":
        return None
    path = Path(mkdtemp(prefix="optout-kernel-"), "_kernel.so")
    path.write_bytes(build.kernel(platform.machine()))
    loaded = kernel.Kernel(path, plain=name == "plain")
    rmtree(path.parent)
    return loaded


@pytest.fixture(params=["numpy", "compiled"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test with each engine."""
    monkeypatch.setattr(module, "_KERNEL", engine_named(request.param))
    return str(request.param)


@pytest.fixture(autouse=True, scope="module")
def by_numpy() -> Iterator[None]:
    """Whatever was compiled on this machine: a test says itself that it asks the kernel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_KERNEL", None)
        yield


def bits(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def uniform(count: int, seed: int) -> Codes:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


def flipped(given_codes: Codes, counts: NDArray[np.int64], seed: int) -> Codes:
    """Each code with exactly so many bits changed."""
    order = np.random.default_rng(seed).random((len(given_codes), 256)).argsort(axis=1).argsort(axis=1)
    return given_codes ^ np.packbits(order < counts[:, None], axis=1)


def by_comparing(stored: Codes, queries: Codes, radius: int) -> set[tuple[int, int, int]]:
    """(query, row, distance) of all pairs within the radius, the plain way."""
    found = set()
    for number, query in enumerate(queries):
        distances = np.unpackbits(stored ^ query, axis=1).sum(axis=1, dtype=int)
        found |= {(number, int(row), int(distances[row])) for row in np.flatnonzero(distances <= radius)}
    return found


def by_index(index: HammingIndex, queries: Codes, radius: int = 31) -> set[tuple[int, int, int]]:
    found = list(zip(*(part.tolist() for part in index.matches(queries, radius)), strict=True))
    assert len(found) == len(set(found))
    return set(found)


def patterns(seed: int) -> NDArray[np.int64]:
    """Differing bits per band, (n, 16), at the edge of the proof: sums of 28 to 34 and of 44 to 49, spread so that as
    few bands as possible may be near, and at random."""
    rng = np.random.default_rng(seed)
    rows = [np.full(16, level) for level in (2, 3)]
    for level in (2, 3):
        for band in range(16):
            for drop, lift in ((1, 0), (2, 0), (2, 1), (1, 1), (0, 1)):
                row = np.full(16, level)
                row[band] -= drop
                row[(band + 1) % 16] += lift
                rows.append(row)
                # One near band, its neighbour just at the limit of the second rule and the rest as far as may be.
                row = row.copy()
                row[(band - 1) % 16] += 1
                rows.append(row)
    # One way only to be found, at 31, and two ways, at 46: often enough that every bit of a band is one of them.
    for band in range(16):
        rows += [np.where(np.arange(16) == band, 1, 2)] * 12
        rows += [np.where(np.isin(np.arange(16), (band, other)), 2, 3) for other in range(band)] * 2
    for total in (*range(29, 35), *range(44, 50)):
        rows += [rng.multinomial(total, rng.dirichlet(np.full(16, 10.0 ** rng.uniform(-1, 2)))) for _ in range(40)]
    return np.minimum(np.array(rows), 16)


def at_pattern(given_codes: Codes, pattern: NDArray[np.int64], seed: int) -> Codes:
    """Each code with so many bits changed in each of its 16-bit bands."""
    order = np.random.default_rng(seed).random((len(given_codes), 16, 16)).argsort(axis=2).argsort(axis=2)
    changed = np.packbits(order < pattern[:, :, None], axis=2)
    return given_codes ^ changed.reshape(-1, 32)


class LayersAreAList(RuleBasedStateMachine):
    """Base, added and newest codes without the removed ones are what a plain list would be, at every moment. The layers
    are made small, so that codes pass from one to the next all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for name, value in {"_LISTS_PAY": 5, "_LOOKUP_COST": 0, "_CROWD": 4, "_CROWDED": 0, "_TAIL": 0}.items():
            self.patch.setattr(module, name, value)

    @initialize(base=st.lists(codes, max_size=6), engine=st.sampled_from(ENGINES))
    def start(self, base: list[bytes], engine: str) -> None:
        self.patch.setattr(module, "_KERNEL", engine_named(engine))
        self.model = dict(enumerate(base))
        self.index = HammingIndex.build(np.frombuffer(b"".join(base), dtype=np.uint8).reshape(-1, 32))

    @rule(code=codes)
    def add(self, code: bytes) -> None:
        row = self.index.add(code)
        assert row not in self.model
        self.model[row] = code

    @rule(data=st.data(), times=st.integers(1, 4))
    @precondition(lambda self: self.model)
    def add_near_another(self, data: st.DataObject, times: int) -> None:
        near = bytearray(data.draw(st.sampled_from(sorted(self.model.values()))))
        for _ in range(times):
            for bit in data.draw(st.sets(st.integers(0, 255), max_size=20)):
                near[bit // 8] ^= 1 << bit % 8
            self.add(bytes(near))

    @rule(data=st.data())
    @precondition(lambda self: self.model)
    def remove(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.model)))
        self.index.remove(row)
        del self.model[row]

    @rule(code=codes, radius=st.one_of(st.integers(0, 48), st.integers(0, 256)))
    def search_anywhere(self, code: bytes, radius: int) -> None:
        expected = sorted((r, bits(c, code)) for r, c in self.model.items() if bits(c, code) <= radius)
        assert self.index.within(code, radius) == expected
        (witness,) = self.index.any_match(np.frombuffer(code, dtype=np.uint8)[None], radius).tolist()
        assert (witness in {row for row, _ in expected}) if expected else witness == -1

    @rule(data=st.data(), changed=st.sets(st.integers(0, 255), max_size=34), radius=st.sampled_from([31, 31, 46]))
    @precondition(lambda self: self.model)
    def search_near(self, data: st.DataObject, changed: set[int], radius: int) -> None:
        code = int.from_bytes(data.draw(st.sampled_from(sorted(self.model.values())))) ^ sum(
            1 << bit for bit in changed
        )
        self.search_anywhere(code.to_bytes(32), radius)

    @invariant()
    def counts_what_is_there(self) -> None:
        assert len(self.index) == len(self.model)

    def teardown(self) -> None:
        self.patch.undo()


LayersAreAList.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestLayersAreAList = LayersAreAList.TestCase


def lose_one_when_a_list_moves(patch: pytest.MonkeyPatch) -> None:
    entries = module._Lists._entries

    def all_but_one(self: module._Lists, number: int) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
        rows, following = entries(self, number)
        return rows[1:], following[1:]

    patch.setattr(module._Lists, "_entries", all_but_one)


def never_forget_what_was_removed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HammingIndex, "remove", lambda self, row: None)


def add_to_the_first_band_only(patch: pytest.MonkeyPatch) -> None:
    listed = module._Lists.add

    def add(self: module._Lists, words: NDArray[np.uint64], rows: NDArray[np.int64], keep: module.Listed) -> list[int]:
        return listed(self, np.repeat(words.view(np.uint16)[:, :1], 16, axis=1).view(np.uint64), rows, keep)

    patch.setattr(module._Lists, "add", add)


@pytest.mark.parametrize(
    "mistake",
    [lose_one_when_a_list_moves, add_to_the_first_band_only, never_forget_what_was_removed],
)
def test_a_mistake_in_a_layer_is_found(mistake: Callable[[pytest.MonkeyPatch], None]) -> None:
    found = settings(max_examples=200, stateful_step_count=40, deadline=None, phases=[Phase.generate], database=None)
    with pytest.MonkeyPatch.context() as patch:
        mistake(patch)
        with pytest.raises(AssertionError):
            run_state_machine_as_test(LayersAreAList, settings=found)


@given(codes, st.sets(st.integers(0, 255)), st.integers(0, 256))
def test_a_code_is_found_exactly_up_to_the_radius(code: bytes, changed: set[int], radius: int) -> None:
    index = HammingIndex()
    row = index.add(code)
    other = (int.from_bytes(code) ^ sum(1 << bit for bit in changed)).to_bytes(32)
    assert index.within(other, radius) == ([(row, len(changed))] if len(changed) <= radius else [])


@pytest.mark.parametrize("radius", [30, 31, 32, 46, 47])
@pytest.mark.parametrize("layer", ["base", "added"])
def test_no_pattern_of_bits_at_the_edge_of_the_proof_escapes(radius: int, layer: str, engine: str) -> None:
    stored = uniform(30_000, seed=1)
    if layer == "base":
        index = HammingIndex.build(stored)
        lists = index._lists
    else:
        index = HammingIndex()
        for part in np.array_split(stored, 200):
            index.extend(part)
        lists = index._lists
    # Otherwise this test would compare a scan with a scan.
    assert lists is not None
    assert lists.pay(radius, len(index))
    pattern = patterns(seed=2)
    sources = np.random.default_rng(3).integers(0, 28_000, len(pattern))
    queries = at_pattern(stored[sources], pattern, seed=4)
    planted = pattern.sum(axis=1)
    expected = {(n, int(r), int(d)) for n, (r, d) in enumerate(zip(sources, planted, strict=True)) if d <= radius}
    assert len(expected) > 100
    # Unrelated uniform codes differ by 128 +- 8 bits: only what was planted is within 47.
    assert by_index(index, queries, radius) == expected
    witness = index.any_match(queries, radius)
    assert {(n, int(row)) for n, row in enumerate(witness) if row >= 0} == {(n, row) for n, row, _ in expected}
    one_by_one = [index.any_match(query[None], radius)[0] for query in queries[:60]]
    assert one_by_one == witness[:60].tolist()


def next_band_one_bit_tighter(masks: NDArray[np.uint16], allowed: NDArray[np.uint8]) -> Masks:
    return masks, allowed - np.uint8(1)


def one_bit_never_flipped(masks: NDArray[np.uint16], allowed: NDArray[np.uint8]) -> Masks:
    return masks[masks < 1 << 15], allowed[masks < 1 << 15]


@pytest.mark.parametrize("radius", [31, 46])
@pytest.mark.parametrize("mistake", [next_band_one_bit_tighter, one_bit_never_flipped])
def test_a_search_that_looks_at_less_than_the_proof_asks_for_is_found_out(
    mistake: Callable[..., Masks],
    radius: int,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored, pattern = uniform(30_000, seed=1), patterns(seed=2)
    index = HammingIndex.build(stored)
    sources = np.random.default_rng(3).integers(0, 28_000, len(pattern))
    queries = at_pattern(stored[sources], pattern, seed=4)
    planted = pattern.sum(axis=1) <= radius
    masks = module._masks
    assert ((index.any_match(queries, radius) >= 0) == planted).all()
    # What is made of the masks once, is made anew.
    for name in ("_flips", "_flipping"):
        monkeypatch.setattr(module, name, getattr(module, name).__wrapped__)
    monkeypatch.setattr(module, "_masks", lambda radius: mistake(*masks(radius)))
    assert ((index.any_match(queries, radius) >= 0) != planted).any()


def test_a_processor_without_avx2_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = uniform(70_000, seed=5)
    index = HammingIndex.build(stored)
    pattern = patterns(seed=6)
    queries = at_pattern(stored[: len(pattern)], pattern, seed=7)
    found = {}
    for name in ("plain", "compiled"):
        monkeypatch.setattr(module, "_KERNEL", engine_named(name))
        found[name] = by_index(index, queries)
    expected = {(n, n, int(bits)) for n, bits in enumerate(pattern.sum(axis=1)) if bits <= 31}
    assert found == {"plain": expected, "compiled": expected}


def test_searches_in_skewed_codes_equal_comparing_all(engine: str) -> None:
    rng = np.random.default_rng(11)
    # A third of the bands of all codes hold one of four values, and every tenth code is near an earlier one.
    stored = uniform(12_000, seed=12)
    bands = stored.view(np.uint16)
    common = rng.integers(0, 65536, 4).astype(np.uint16)
    skewed = rng.random(bands.shape) < 0.33
    bands[skewed] = common[rng.integers(0, 4, np.count_nonzero(skewed))]
    stored[::10] = flipped(stored[rng.integers(0, 12_000, 1200)], rng.integers(0, 41, 1200), seed=13)
    index = HammingIndex.build(stored)
    queries = flipped(stored[rng.integers(0, 12_000, 150)], rng.integers(0, 50, 150), seed=14)
    expected = by_comparing(stored, queries, 31)
    assert by_index(index, queries) == expected
    assert set(np.flatnonzero(index.any_match(queries) >= 0)) == {query for query, _, _ in expected}


def test_a_crowd_is_searched_exactly_on_every_side_of_its_edge(engine: str) -> None:
    rng = np.random.default_rng(21)
    stored = uniform(9_000, seed=22)
    centres = uniform(2, seed=23)
    stored[:3000] = flipped(np.repeat(centres, 1500, axis=0), rng.integers(0, 13, 3000), seed=24)
    stored = stored[rng.permutation(len(stored))]
    index = HammingIndex.build(stored)
    assert index._lists is not None
    assert index._lists.crowd_sizes.sum() >= 2900
    queries = flipped(np.repeat(centres, 60, axis=0), np.tile(np.arange(60), 2), seed=25)
    expected = by_comparing(stored, queries, 31)
    assert by_index(index, queries) == expected
    assert set(np.flatnonzero(index.any_match(queries) >= 0)) == {query for query, _, _ in expected}
    gone = np.random.default_rng(26).permutation(9_000)[:8_000]
    for row in gone:
        index.remove(int(row))
    removed = set(gone.tolist())
    left = {pair for pair in expected if pair[1] not in removed}
    assert by_index(index, queries) == left
    assert set(np.flatnonzero(index.any_match(queries) >= 0)) == {query for query, _, _ in left}


def test_the_outermost_of_a_crowd_is_found_from_the_farthest_side(engine: str) -> None:
    stored = uniform(9_000, seed=27)
    stored[:3000] = flipped(np.repeat(uniform(1, seed=28), 3000, axis=0), np.arange(3000) % 13, seed=29)
    index = HammingIndex.build(stored)
    assert index._lists is not None
    rows = index._lists.crowd_rows
    centre, outermost = np.unpackbits(stored[[rows[0], rows[-1]]], axis=1)
    # As far from the centre as anything within 31 bits of that member can be.
    query = outermost.copy()
    query[np.flatnonzero(centre == outermost)[:31]] ^= 1
    assert by_index(index, np.packbits(query)[None]) == {(0, int(rows[-1]), 31)}
    assert index.any_match(np.packbits(query)[None])[0] == rows[-1]


@pytest.mark.parametrize("around", [0, 40])
def test_a_crowd_inside_or_outside_the_radius_is_not_measured_again_and_again(
    around: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = uniform(60_000, seed=31)
    centre = uniform(1, seed=32)
    stored[:20_000] = flipped(np.repeat(centre, 20_000, axis=0), np.full(20_000, 6), seed=33)
    index = HammingIndex.build(stored)
    queries = flipped(np.repeat(centre, 20, axis=0), np.full(20, around), seed=34)
    measured = 0
    distance = module._distance

    def counting(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.int64]:
        nonlocal measured
        result = distance(one, other)
        measured += len(result)
        return result

    monkeypatch.setattr(module, "_distance", counting)
    found = index.any_match(queries) >= 0
    assert found.all() if around == 0 else not found.any()
    assert measured <= 20 * 200


def test_a_removed_witness_never_hides_one_that_is_there(engine: str) -> None:
    code = uniform(1, seed=41)
    stored = np.concatenate([uniform(5_000, seed=42), np.repeat(code, 3, axis=0)])
    index = HammingIndex.build(stored)
    rows = [5_000, 5_001, 5_002, *(index.add(code.tobytes()) for _ in range(3))]
    order = np.random.default_rng(43).permutation(rows).tolist()
    for position, row in enumerate(order):
        assert index.any_match(code)[0] in order[position:]
        index.remove(row)
    assert index.any_match(code)[0] == -1


def test_a_place_used_again_answers_for_its_new_code_only(engine: str) -> None:
    first = uniform(5_000, seed=51)
    index = HammingIndex.build(first[:4_000])
    rows = index.extend(first[4_000:]).tolist()
    for row in rows:
        index.remove(row)
    second = uniform(1000, seed=52)
    again = index.extend(second).tolist()
    assert set(again) == set(rows)
    assert (index.any_match(first[4_000:]) == -1).all()
    assert index.any_match(second).tolist() == again
    assert index.any_match(first[:4_000]).tolist() == list(range(4_000))


def longest(lists: module._Lists, code: Codes) -> int:
    """The length of the longest of the lists that name a code (1, 32)."""
    numbers = code.view(np.uint16)[0] + np.arange(16) * 65_536
    return max(len(lists._entries(number)[0]) for number in numbers.tolist())


def test_lists_do_not_grow_by_what_comes_and_goes() -> None:
    index = HammingIndex.build(uniform(5_000, seed=53))
    lists = index._lists
    assert lists is not None
    code = uniform(1, seed=54)
    others = flipped(np.repeat(code, 60, axis=0), np.arange(60) % 20, seed=55)
    most = 0
    for other in np.concatenate([others] * 6):
        for row in index.extend(np.stack([code[0], other])).tolist():
            index.remove(row)
        most = max(most, longest(lists, code))
    assert most <= 2 * 60
    assert index.any_match(code)[0] == -1


def test_a_crowd_that_is_added_is_taken_apart_like_one_that_was_there(engine: str) -> None:
    stored = uniform(6_000, seed=56)
    index = HammingIndex.build(stored)
    lists = index._lists
    assert lists is not None
    centre = uniform(1, seed=57)
    crowd = flipped(np.repeat(centre, 3_000, axis=0), np.arange(3_000) % 13, seed=58)
    rows = np.concatenate([index.extend(part) for part in np.array_split(crowd, 60)])
    assert len(lists._crowds) == 1
    assert len(lists._crowds[0].rows) >= 1_500
    assert longest(lists, centre) < 2 * module._CROWD
    for row in rows[::3].tolist():
        index.remove(row)
    queries = flipped(np.repeat(centre, 46, axis=0), np.arange(46), seed=59)
    everything = np.concatenate([stored, crowd])
    gone = set(rows[::3].tolist())
    expected = {pair for pair in by_comparing(everything, queries, 31) if pair[1] not in gone}
    assert by_index(index, queries) == expected
    assert set(np.flatnonzero(index.any_match(queries) >= 0)) == {query for query, _, _ in expected}


def test_a_kernel_for_another_machine_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "x86_64" if platform.machine() == "aarch64" else "aarch64"
    monkeypatch.setattr(kernel, "_FOLDER", tmp_path)
    assert kernel.load() is None
    (tmp_path / "_kernel.a.so").write_bytes(build.kernel(other))
    assert kernel.load() is None
    (tmp_path / "_kernel.b.so").write_bytes(build.kernel(platform.machine()))
    assert kernel.load() is not None


def test_a_row_is_removed_once() -> None:
    index = HammingIndex.build(uniform(3, seed=61))
    for row in (index.add(bytes(32)), 1):
        index.remove(row)
        with pytest.raises(KeyError):
            index.remove(row)
    with pytest.raises(KeyError):
        index.remove(99)
    assert index.within(bytes(32), 0) == []
    assert len(index) == 2


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 5,000 codes in lists, 1,500 in a crowd, 1,000 added later, 500 removed."""
    path = tmp_path_factory.mktemp("index") / "codes"
    index = HammingIndex.build(stored_codes()[:6_500])
    for code in stored_codes()[6_500:]:
        index.add(code.tobytes())
    for row in range(0, 7_500, 15):
        index.remove(row)
    index.save(path)
    return path


def stored_codes() -> Codes:
    stored = uniform(7_500, seed=71)
    stored[:1500] = flipped(np.repeat(uniform(1, seed=72), 1500, axis=0), np.arange(1500) % 13, seed=73)
    return stored


def test_a_saved_index_answers_as_before(saved: Path) -> None:
    index = HammingIndex.open(saved)
    assert len(index) == 7_000
    stored = stored_codes()
    queries = np.concatenate([flipped(stored[::50], np.arange(150) % 40, seed=74), uniform(20, seed=75)])
    expected = {pair for pair in by_comparing(stored, queries, 31) if pair[1] % 15}
    assert by_index(index, queries) == expected
    row = index.add(queries[-1].tobytes())
    assert row == 7_500
    assert index.any_match(queries[-1:])[0] == row
    index.remove(1)
    again = saved.with_name("again")
    index.save(again)
    assert by_index(HammingIndex.open(again, verify=False), queries) == {pair for pair in expected if pair[1] != 1} | {
        (len(queries) - 1, 7_500, 0)
    }


def test_what_is_added_to_an_opened_index_does_not_change_the_file(saved: Path) -> None:
    before = saved.read_bytes()
    index = HammingIndex.open(saved)
    rows = index.extend(uniform(300, seed=76)).tolist()
    assert index.any_match(uniform(300, seed=76)).tolist() == rows
    assert saved.read_bytes() == before


@pytest.mark.parametrize("name", module._SECTIONS)
def test_sections_that_do_not_fit_together_are_refused(name: str, saved: Path) -> None:
    sections = module._read(saved, verify=True)
    # Those that are not read by others' lengths are long enough for both.
    sections[name] = sections[name][:-8] if len(sections[name]) > 8 else np.ones(9, sections[name].dtype)
    other = saved.with_name("other")
    module._write(other, 7_500, sections)
    with pytest.raises(IndexDamaged):
        HammingIndex.open(other)


def test_codes_of_removed_rows_are_not_in_the_file(saved: Path) -> None:
    written, stored = saved.read_bytes(), stored_codes()
    assert all((code.tobytes() in written) == bool(row % 15) for row, code in enumerate(stored[1490:1530], 1490))


def test_an_empty_index_is_saved_and_opened(tmp_path: Path) -> None:
    HammingIndex().save(tmp_path / "empty")
    index = HammingIndex.open(tmp_path / "empty")
    assert len(index) == 0
    assert index.add(bytes(32)) == 0
    assert index.within(bytes(32), 31) == [(0, 0)]


def test_the_same_codes_make_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "other"):
        HammingIndex.build(stored_codes()).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_anywhere_is_refused(saved: Path, where: float, bit: int) -> None:
    data = bytearray(saved.read_bytes())
    # Half of the examples go to the header and the sections' edges, where little room is.
    data[int(where * 2 * len(data)) if where < 0.5 else int((where - 0.5) * 2 * 4096)] ^= 1 << bit
    damaged = saved.with_name("damaged")
    damaged.unlink(missing_ok=True)
    damaged.write_bytes(data)
    with pytest.raises(IndexDamaged):
        HammingIndex.open(damaged)


@given(left=st.floats(0, 1, exclude_max=True))
@settings(max_examples=30, deadline=None)
def test_a_file_cut_off_anywhere_is_refused_even_unverified(saved: Path, left: float) -> None:
    data = saved.read_bytes()
    cut = saved.with_name("cut")
    cut.unlink(missing_ok=True)
    cut.write_bytes(data[: int(left * len(data))])
    with pytest.raises(IndexDamaged):
        HammingIndex.open(cut, verify=False)
    cut.unlink()
    cut.write_bytes(data + b"\0")
    with pytest.raises(IndexDamaged):
        HammingIndex.open(cut, verify=False)


def test_a_file_of_a_later_version_is_refused(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[8] += 1
    data[4064:4096] = hashlib.sha256(data[:4064]).digest()
    later = saved.with_name("later")
    later.write_bytes(data)
    with pytest.raises(IndexDamaged, match="unknown version"):
        HammingIndex.open(later, verify=False)


@pytest.mark.parametrize("wrong", [np.zeros((2, 31), np.uint8), np.zeros(32, np.uint8), np.zeros((2, 32), np.int64)])
def test_codes_of_another_shape_are_refused(wrong: Codes) -> None:
    with pytest.raises(ValueError, match="32"):
        HammingIndex().any_match(wrong)
