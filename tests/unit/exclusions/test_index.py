import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from optout.exclusions.index import HammingIndex

codes = st.binary(min_size=32, max_size=32)


def bits(one: bytes, other: bytes) -> int:
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))


class HammingIndexIsAList(RuleBasedStateMachine):
    """Whatever is added and removed in whatever order, a search finds what a plain list would."""

    @initialize()
    def start(self) -> None:
        self.index = HammingIndex()
        self.model: dict[int, bytes] = {}

    @rule(code=codes)
    def add(self, code: bytes) -> None:
        row = self.index.add(code)
        assert row not in self.model
        self.model[row] = code

    @rule(data=st.data())
    @precondition(lambda self: self.model)
    def add_near_another(self, data: st.DataObject) -> None:
        near = bytearray(data.draw(st.sampled_from(sorted(self.model.values()))))
        for bit in data.draw(st.sets(st.integers(0, 255), max_size=40)):
            near[bit // 8] ^= 1 << bit % 8
        self.add(bytes(near))

    @rule(data=st.data())
    @precondition(lambda self: self.model)
    def remove(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.model)))
        self.index.remove(row)
        del self.model[row]

    @rule(code=codes, radius=st.integers(0, 256))
    def search_anywhere(self, code: bytes, radius: int) -> None:
        found = self.index.within(code, radius)
        assert sorted(found) == sorted((r, bits(c, code)) for r, c in self.model.items() if bits(c, code) <= radius)

    @rule(data=st.data())
    @precondition(lambda self: self.model)
    def search_near(self, data: st.DataObject) -> None:
        self.search_anywhere(data.draw(st.sampled_from(sorted(self.model.values()))), 31)

    @invariant()
    def counts_what_is_there(self) -> None:
        assert len(self.index) == len(self.model)


TestHammingIndexIsAList = HammingIndexIsAList.TestCase


@given(codes, st.sets(st.integers(0, 255)), st.integers(0, 256))
def test_a_code_is_found_exactly_up_to_the_radius(code: bytes, flipped: set[int], radius: int) -> None:
    index = HammingIndex()
    row = index.add(code)
    other = (int.from_bytes(code) ^ sum(1 << bit for bit in flipped)).to_bytes(32)
    assert index.within(other, radius) == ([(row, len(flipped))] if len(flipped) <= radius else [])


def test_an_index_grows_past_its_first_rows() -> None:
    index = HammingIndex()
    rows = [index.add(number.to_bytes(32)) for number in range(1000)]
    assert len(set(rows)) == 1000
    assert all((rows[number], 0) in index.within(number.to_bytes(32), 0) for number in range(0, 1000, 37))


def test_a_row_is_removed_once() -> None:
    index = HammingIndex()
    row = index.add(bytes(32))
    index.remove(row)
    assert index.within(bytes(32), 256) == []
    with pytest.raises(KeyError):
        index.remove(row)
