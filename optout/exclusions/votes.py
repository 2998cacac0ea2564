"""Which enrolled pictures a candidate's corners vote for, and which of these votes can be true together.

A pair of like corners says how the one picture lies in the other: turned, scaled and moved. Pairs that turn alike are
counted (weak geometric consistency; Jegou et al., ECCV 2008); of the pictures with most of them, pairs that agree about
all three are (a Hough transform whose cells are the pairs themselves; Lowe, IJCV 2004).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optout.fingerprint.keypoints import LEVEL_STEP, Features

MAX_CANDIDATES = 3
# Of 58 views of strangers among 10,000 pictures 7 had three pairs that agreed with each other, one had four. Of nine
# weak edits of 39 photos .96 have; by the number of votes alone .95 came among the first three.
MIN_ALIKE = 3
_TURNS = 16
# Pictures whose pairs are compared with each other, and how many of each: the votes of more say nothing new.
_CONSIDERED = 12
_COMPARED = 40
# What a pair expects of another: this many pixels, and this part of their distance, since the turn is known to within
# 10 degrees and the scale to within a fifth; and a scale within a step and a half.
_NEAR, _NEAR_PART, _STEPS = 12.0, 0.35, 2
# Corners of one place count once.
_CELL = 8


def most_likely(
    asked: NDArray[np.intp],
    owners: NDArray[np.intp],
    places: NDArray[np.uint8],
    features: Features,
    limit: int = MAX_CANDIDATES,
) -> list[int]:
    """Of n pairs of like corners the pictures they are of, the most likely first. `asked` are the candidate's corners
    in `features`, `owners` the pictures, `places` (n, 4) where these have the corner, as it is
    stored."""
    if not len(asked):
        return []
    turns = (places[:, 2] - features.angles[asked]) >> 4  # uint8 wraps around as angles do
    names = owners * _TURNS + turns
    votes = np.unique(names << 16 | asked) >> 16  # one vote a corner and turn
    voted, counts = np.unique(votes, return_counts=True)
    # A turn at the edge of its class votes in two: each class counts with the next one.
    following = _following(voted)
    at = np.searchsorted(voted, following)
    at[at == len(voted)] = 0
    counts = counts + np.where(voted[at] == following, counts[at], 0)
    chosen: dict[int, int] = {}
    for place in np.argsort(-counts, kind="stable")[: 4 * _CONSIDERED]:
        if counts[place] < MIN_ALIKE or len(chosen) == _CONSIDERED:
            break
        chosen.setdefault(int(voted[place]) // _TURNS, int(voted[place]))
    if not chosen:
        return []
    order = np.argsort(names, kind="stable")
    sorted_names = names[order]
    groups = []
    for name in chosen.values():
        both = np.array([name, _following(np.array(name))])
        first, last = np.searchsorted(sorted_names, both), np.searchsorted(sorted_names, both, side="right")
        group = np.concatenate([order[begin:end] for begin, end in zip(first, last, strict=True)])
        # Several tables name the same pair.
        where = np.ascontiguousarray(places[group]).view(np.uint32).ravel().astype(np.int64)
        _, once = np.unique(asked[group] << 32 | where, return_index=True)
        groups.append(group[np.sort(once)[:_COMPARED]])
    alike = _alike(groups, asked, places, features)
    ranked = sorted(zip(alike, chosen, strict=True), key=lambda pair: -pair[0])
    return [row for count, row in ranked if count >= MIN_ALIKE][:limit]


def _following(names: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same picture's next turn; after the last comes the first."""
    return np.asarray((names & ~np.int64(_TURNS - 1)) | ((names + 1) & (_TURNS - 1)))


def _alike(
    groups: list[NDArray[np.intp]], asked: NDArray[np.intp], places: NDArray[np.uint8], features: Features
) -> list[int]:
    """Of each group of pairs how many agree with one of them about turn, scale and place."""
    pairs = np.zeros((len(groups), max(map(len, groups))), dtype=np.intp)
    real = np.zeros(pairs.shape, dtype=bool)
    for number, group in enumerate(groups):
        pairs[number, : len(group)], real[number, : len(group)] = group, True
    here = features.points[asked[pairs]]
    place = places[pairs]
    there = place[..., :2].astype(np.float32) * 2
    steps = place[..., 3].astype(np.int16) - features.levels[asked[pairs]]
    turn = (place[..., 2].astype(np.float32) - features.angles[asked[pairs]]) * np.float32(2 * np.pi / 256)
    scale = np.float32(LEVEL_STEP) ** steps
    cosine, sine = np.cos(turn) * scale, np.sin(turn) * scale
    x, y = (here[:, None, :, axis] - here[:, :, None, axis] for axis in (0, 1))
    right, down = (there[:, None, :, axis] - there[:, :, None, axis] for axis in (0, 1))
    off = np.hypot(
        cosine[..., None] * x - sine[..., None] * y - right, sine[..., None] * x + cosine[..., None] * y - down
    )
    agree = (off <= _NEAR + _NEAR_PART * np.hypot(right, down)) & real[:, None, :] & real[:, :, None]
    agree &= np.abs(steps[:, None, :] - steps[:, :, None]) <= _STEPS
    best = agree[np.arange(len(groups)), agree.sum(axis=2).argmax(axis=1)]
    counts = []
    for kept, cells in zip(best, np.rint(np.concatenate([here, there], axis=2) / _CELL).astype(int), strict=True):
        own = cells[kept].tolist()
        counts.append(min(len({(u, v) for u, v, _, _ in own}), len({(u, v) for _, _, u, v in own})))
    return counts
