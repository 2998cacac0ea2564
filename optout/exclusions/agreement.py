"""Whether a candidate's pixels agree with an enrolled picture, once it is known where the one lies in the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from optout.fingerprint.keypoints import Features, Keypoints
from optout.fingerprint.sketch import BITS, BLOCKS, GRID, STRUCTURED, blocks_of, signs_of

# Shares of the blocks that agree. Different pictures under one template reached .30 at most where 8 corners fitted.
SURE_AGREEMENT = 0.5
LIKELY_AGREEMENT = 0.3
MIN_INLIERS = 8
# Fewer corners do where nearly everything agrees.
FEW_INLIERS, FEW_AGREEMENT, FEW_BLOCKS = 5, 0.7, 12
# A picture that hashes alike is placed without any corner, so more of it must be seen.
WHOLE_BLOCKS = 16
# Fewer blocks say nothing.
MIN_BLOCKS = 5
# A line of letters agrees wherever it stands: what agrees must be so many rows and columns of blocks.
_MIN_SPAN = 3
# A page, a feed or a caption bar agrees with itself whatever picture it shows. So one grey level counts as page where
# it has, to within so many levels, this share of the candidate, or less in even windows of so many pixels (labels, but
# not the letters of a meme): the blocks without it must agree by themselves, and better; and corners that have page
# around them (this share of a window of so many pixels) do not count. A page is of exactly one level, few skies are.
# 16 photos under each of fourteen templates, whole files enrolled, 2,800 of 3,360 pairs placed: none is excluded so;
# with the first share alone 13 are at .10, and at .07 none, but five more of 1,100 edited copies are lost.
_PAPER_SHARE, _PAPER_TOLERANCE, _PAPER_BLOCK = 0.12, 5, 0.06
_EVEN_SHARE, _EVEN_WINDOW, _EVEN_TOLERANCE = 0.03, 7, 6
_CORNER_REACH, _PAPER_CORNER = 31, 0.5
_SURE_BESIDE_PAPER = 0.6
# So few blocks without page already tell a picture that is another.
_MIN_SHOWN = 3
# Where page is all there is (drawings, letters, QR codes, but also photos before a grey sky), nearly all of it must
# agree, or most of it and some corners that are not the page's, or half and many of them (two QR codes with like
# contents had 28 and .75 of the blocks); less than that is for a person to look at.
_PAPER_AGREEMENT = 0.95
_SOME_INLIERS, _SOME_AGREEMENT = 12, 0.8
_MANY_INLIERS = 32
# A block that is little more than a slope from light to dark (this share of its variance) agrees with every other such:
# skies, and the blur that fills stories. Where it agrees it says nothing; where it does not, it does. Counted like the
# others, 26 of the 2,184 pairs were excluded.
_SLOPE = 0.75
# Two blocks agree from this normalised cross-correlation on, as their signs estimate it.
BLOCK_NCC = 0.5
_MAX_DIFFERENT = int(BITS * math.acos(BLOCK_NCC) / math.pi)

# A pair counts when the second nearest corner is further away by so much (Lowe, IJCV 2004), and few of 128 bits differ.
_RATIO = 0.9
_MATCHED_BITS = 40
# Pixels of the enrolled picture (long side 512), whose corners are stored to the nearest even pixel.
_REPROJECTION = 6.0
# Corners in one cell of so many pixels count once: letters and repeated things are many corners in one place.
_INLIER_CELL = 8
# The candidate is laid over the enrolled picture at this size, then shrunk to the sketch's.
_WARPED = 256
# A block of which the candidate's edge hides less than this part of its side is still compared.
_OUTSIDE = 0.15


@dataclass(frozen=True)
class Likeness:
    """How far a candidate shows an enrolled picture: `inliers` corners lie alike (of the whole picture, known by its
    hash: all), and `agreement` is the share of `blocks` that look alike."""

    inliers: int
    agreement: float
    blocks: int

    @property
    def sure(self) -> bool:
        """Whether it is a copy."""
        return (self.inliers >= MIN_INLIERS and self.agreement >= SURE_AGREEMENT) or (
            self.inliers >= FEW_INLIERS and self.agreement >= FEW_AGREEMENT and self.blocks >= FEW_BLOCKS
        )

    @property
    def likely(self) -> bool:
        """Whether a person should look."""
        return self.inliers >= MIN_INLIERS and self.agreement >= LIKELY_AGREEMENT

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Orders the likenesses of one enrolled picture."""
        return self.sure, self.likely, self.agreement


def place(grey: NDArray[np.uint8], features: Features, keypoints: Keypoints) -> Likeness | None:
    """How far the candidate shows the enrolled picture where its corners place it; None when they place it nowhere."""
    import cv2

    if len(features) < FEW_INLIERS:
        return None
    enrolled = keypoints.features
    pairs = _matches(features, enrolled)
    if len(pairs) < FEW_INLIERS:
        return None
    here, there = features.points[pairs[:, 0]], enrolled.points[pairs[:, 1]]
    affine, inlying = cv2.estimateAffine2D(
        here, there, method=cv2.RANSAC, ransacReprojThreshold=_REPROJECTION, maxIters=1000, confidence=0.995
    )
    if affine is None or not _plausible(affine):
        return None
    found = here[inlying.ravel() > 0]
    inliers = _apart(found)
    if inliers < FEW_INLIERS:
        return None
    seen = agreement(grey, affine, keypoints)
    if seen.share >= _PAPER_AGREEMENT:
        return Likeness(inliers, seen.share, seen.blocks)
    inliers = _apart(found[~_on_paper(grey, found)])
    enough = inliers >= _MANY_INLIERS or (inliers >= _SOME_INLIERS and seen.share >= _SOME_AGREEMENT)
    share = min(seen.share, LIKELY_AGREEMENT) if seen.only_paper and not enough else seen.share
    return Likeness(inliers, share, seen.blocks)


def shown_whole(
    grey: NDArray[np.uint8], box: tuple[int, int, int, int], orientation: int, keypoints: Keypoints
) -> Likeness | None:
    """How far the box (x, y, width, height) shows the whole enrolled picture in this orientation of `pdq_hashes`."""
    seen = agreement(grey, _whole(box, orientation, keypoints), keypoints)
    if seen.blocks < WHOLE_BLOCKS:
        return None
    doubtful = seen.only_paper and seen.share < _PAPER_AGREEMENT
    return Likeness(len(keypoints.features), min(seen.share, LIKELY_AGREEMENT) if doubtful else seen.share, seen.blocks)


def _apart(points: NDArray[np.float32]) -> int:
    """How many of the corners are in cells of their own."""
    cells = np.round(points / _INLIER_CELL).astype(int)
    return len(np.unique(cells[:, 0] * 4096 + cells[:, 1]))


def _on_paper(grey: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which corners have page around them: those of letters and menus, which other pages have too."""
    import cv2

    level = _paper_level(grey)
    if level is None:
        return np.zeros(len(points), dtype=bool)
    page = (np.abs(grey.astype(np.int16) - level) <= _PAPER_TOLERANCE).astype(np.float32)
    around = cv2.boxFilter(page, -1, (_CORNER_REACH, _CORNER_REACH), borderType=cv2.BORDER_REFLECT)
    at = np.rint(points).astype(int).clip(0, np.array(grey.shape[::-1]) - 1)
    return np.asarray(around[at[:, 1], at[:, 0]] >= _PAPER_CORNER)


def _matches(features: Features, enrolled: Features) -> NDArray[np.intp]:
    """(n, 2) pairs of like corners, one for each enrolled corner, turned and scaled as most pairs are."""
    import cv2

    distances, found = cv2.batchDistance(
        features.descriptors, enrolled.descriptors, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=2
    )
    nearest, best, second = found[:, 0], distances[:, 0], distances[:, 1]
    kept = np.flatnonzero((best < _RATIO * second) & (best <= _MATCHED_BITS))
    kept = kept[_alike(features, enrolled, kept, nearest[kept])]
    order = kept[np.argsort(best[kept], kind="stable")]
    _, first = np.unique(nearest[order], return_index=True)
    chosen = order[first]
    return np.stack([chosen, nearest[chosen]], axis=1)


def _alike(
    features: Features, enrolled: Features, here: NDArray[np.intp], there: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Which pairs turn and scale within a window of the most frequent turn and scale."""
    import cv2

    if not len(here):
        return np.zeros(0, dtype=bool)
    turn = ((enrolled.angles[there] - features.angles[here]) >> 4).astype(int)
    scale = enrolled.levels[there].astype(int) - features.levels[here] + 16
    votes = np.bincount(turn * 32 + scale, minlength=16 * 32).reshape(16, 32).astype(np.float32)
    # Turns wrap around.
    wrapped = np.concatenate([votes[-1:], votes, votes[:1]])
    wide = cv2.boxFilter(wrapped, -1, (5, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)[1:-1]
    best_turn, best_scale = np.unravel_index(np.argmax(wide), wide.shape)
    return np.asarray(((turn - best_turn + 1) % 16 <= 2) & (np.abs(scale - best_scale) <= 2))


def _plausible(affine: NDArray[np.float64]) -> bool:
    linear = affine[:, :2]
    if not np.isfinite(affine).all() or np.linalg.det(linear) <= 0:
        return False
    most, least = np.linalg.svd(linear, compute_uv=False)
    return bool(least > 0.08 and most < 12 and most / least < 2.2)


@dataclass(frozen=True)
class Agreement:
    """`share` of the `blocks` that say something which agree, 0 when these are too few; `only_paper` when nearly all of
    them are page as well, which then says less."""

    share: float
    blocks: int
    only_paper: bool


def agreement(grey: NDArray[np.uint8], affine: NDArray[np.float64], keypoints: Keypoints) -> Agreement:
    """How far the candidate looks like the enrolled picture when the one is laid over the other."""
    import cv2

    scaled = np.diag([_WARPED / keypoints.width, _WARPED / keypoints.height]) @ affine
    scale = math.sqrt(abs(np.linalg.det(scaled[:, :2])))
    level = _paper_level(grey)
    if scale < 0.5:
        side = max(1, round(0.5 / scale))
        grey = cv2.blur(grey, (side, side))
    warped = cv2.warpAffine(grey, scaled, (_WARPED, _WARPED), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(warped, (GRID, GRID), interpolation=cv2.INTER_AREA).astype(np.float32)
    signs, spread = signs_of(small)
    mask = BLOCKS * BLOCKS // 8
    structured = np.unpackbits(np.frombuffer(keypoints.sketch, np.uint8, mask)).astype(bool)
    enrolled = np.unpackbits(np.frombuffer(keypoints.sketch, np.uint8, offset=mask)).reshape(-1, BITS).astype(bool)
    used = _inside(scaled, grey.shape) & (structured | (spread > STRUCTURED))
    agreeing = ((signs != enrolled).sum(axis=1) <= _MAX_DIFFERENT) & structured & (spread > 1) & used
    slopes = agreeing & (_slope(small) >= _SLOPE)
    used, agreeing = used & ~slopes, agreeing & ~slopes
    count = int(used.sum())
    rows, columns = np.divmod(np.flatnonzero(agreeing), BLOCKS)
    if count < MIN_BLOCKS or len(rows) == 0 or min(np.ptp(rows), np.ptp(columns)) + 1 < _MIN_SPAN:
        return Agreement(0.0, count, False)
    share = float(agreeing.sum() / count)
    paper = used & _paper(level, warped)
    shown = used & ~paper
    if shown.sum() >= _MIN_SHOWN:
        share = min(share, float(agreeing[shown].mean()))
    only_paper = bool(paper.any()) and int(shown.sum()) < MIN_BLOCKS
    if paper.any() and not only_paper and share < _SURE_BESIDE_PAPER:
        share = min(share, LIKELY_AGREEMENT)
    return Agreement(share, count, only_paper)


def _slope(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each block the share of its variance that is one slope from light to dark."""
    blocks = blocks_of(small)
    steps = np.arange(GRID // BLOCKS, dtype=np.float32)
    steps = (steps - steps.mean()) / (np.linalg.norm(steps - steps.mean()) * math.sqrt(len(steps)))
    across, down = np.tile(steps, len(steps)), np.repeat(steps, len(steps))
    return np.asarray(((blocks @ across) ** 2 + (blocks @ down) ** 2) / ((blocks**2).sum(axis=1) + 1e-6))


def _paper_level(grey: NDArray[np.uint8]) -> int | None:
    """The grey that much of the candidate has; None when no one is so frequent."""
    import cv2

    window = np.ones((_EVEN_WINDOW, _EVEN_WINDOW), np.uint8)
    even = (cv2.dilate(grey, window) - cv2.erode(grey, window) <= _EVEN_TOLERANCE).astype(np.uint8)
    for mask, share in ((None, _PAPER_SHARE), (even, _EVEN_SHARE)):
        levels = cv2.blur(cv2.calcHist([grey], [0], mask, [256], [0, 256]), (1, _PAPER_TOLERANCE)).ravel()
        most = int(levels.argmax())
        if levels[most] * _PAPER_TOLERANCE >= share * grey.size:
            return most
    return None


def _paper(level: int | None, warped: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Blocks that are page as well as picture: some of them has the one grey that much of the candidate has."""
    if level is None:
        return np.zeros(BLOCKS * BLOCKS, dtype=bool)
    page = np.abs(warped.astype(np.int16) - level) <= _PAPER_TOLERANCE
    side = _WARPED // BLOCKS
    return np.asarray(page.reshape(BLOCKS, side, BLOCKS, side).mean(axis=(1, 3)).ravel() >= _PAPER_BLOCK)


@cache
def _corners() -> NDArray[np.float64]:
    """(64, 4, 2) corners of the blocks in the warped picture."""
    side = _WARPED // BLOCKS
    row, column = np.divmod(np.arange(BLOCKS * BLOCKS), BLOCKS)
    return np.stack(
        [np.stack([(column + x) * side, (row + y) * side], axis=1) for x in (0, 1) for y in (0, 1)], axis=1
    ).astype(float)


def _inside(scaled: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Blocks that the candidate covers entirely."""
    back = np.linalg.inv(scaled[:, :2])
    at = (_corners() - scaled[:, 2]) @ back.T
    height, width = shape[:2]
    slack = _OUTSIDE * np.linalg.norm(at[:, 0] - at[:, 3], axis=1)[:, None]
    x, y = at[..., 0], at[..., 1]
    return np.asarray(((x >= -slack) & (y >= -slack) & (x <= width + slack) & (y <= height + slack)).all(axis=1))


# The pixel of the enrolled picture that a pixel of its turned copy comes from, in the order of `pdq_hashes`, in parts
# of width and height: x' = a x + b y + c.
_TURNED_BACK = (
    ((1, 0, 0), (0, 1, 0)),
    ((0, -1, 1), (1, 0, 0)),
    ((-1, 0, 1), (0, -1, 1)),
    ((0, 1, 0), (-1, 0, 1)),
    ((1, 0, 0), (0, -1, 1)),
    ((-1, 0, 1), (0, 1, 0)),
    ((0, 1, 0), (1, 0, 0)),
    ((0, -1, 1), (-1, 0, 1)),
)


def _whole(box: tuple[int, int, int, int], orientation: int, keypoints: Keypoints) -> NDArray[np.float64]:
    """The affine map when the box (x, y, width, height) shows the whole enrolled picture in this orientation."""
    x, y, width, height = box
    to_box = np.array([[1 / width, 0, -x / width], [0, 1 / height, -y / height], [0, 0, 1]])
    turned = np.array(_TURNED_BACK[orientation], dtype=float)
    return np.asarray(np.diag([keypoints.width, keypoints.height]) @ turned @ to_box)
