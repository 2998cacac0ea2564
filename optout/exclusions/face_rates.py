"""How sure a face match must be, and what that costs: the threshold, the band for review, the false exclusions.

Page functions import this module, so it knows numbers only: no numpy. docs/accuracy.md has the measurements.
"""

from __future__ import annotations

import math

# Cosine from which a list of n enrolled photos wrongly excludes the share `target` of crawled faces:
# AT_ONE + PER_DECADE * log10(n / target), a fit to 17 million pairs of different people, measured down to a rate of
# 6e-8 a pair and extrapolated beyond.
FACE_COSINE_AT_ONE = 0.223
FACE_COSINE_PER_DECADE = 0.049
# Below this even a list of one person would confuse look-alikes and badly lit faces.
FACE_COSINE_FLOOR = 0.45
# Two photos of one person are this much alike in 99.3 % of pairs, photos of two people in .1 %. Photos that are less
# alike are pointed out to who sends them, and are not averaged.
FACES_AGREE = 0.36

# The operator's choices: crawled faces that are wrongly excluded by the whole list, of a million; and how many wrong
# `review` answers a day reviewers can look at, of so many crawled faces a day.
FALSE_EXCLUSIONS_PER_MILLION = 1000.0
REVIEWS_PER_DAY = 100.0
CRAWLED_FACES_PER_DAY = 1_000_000.0


def face_threshold(photos: int, false_exclusions_per_million: float = FALSE_EXCLUSIONS_PER_MILLION) -> float:
    """The cosine from which a face counts as a listed one, in a list of so many enrolled photos (people x photos)."""
    return max(FACE_COSINE_FLOOR, _cosine_for(photos, false_exclusions_per_million / 1e6))


def false_share(photos: int, cosine: float) -> float:
    """The share of crawled faces of people who are not listed that reach this cosine with someone in the list."""
    return min(1.0, photos * 10 ** ((FACE_COSINE_AT_ONE - cosine) / FACE_COSINE_PER_DECADE))


def review_threshold(photos: int, threshold: float, reviews_per_face: float) -> float:
    """The cosine from which a face that does not reach `threshold` goes to a person, so that they see no more faces of
    unlisted people than `reviews_per_face` of all crawled ones: the budget, not a fixed width, sets the band."""
    if reviews_per_face <= 0:
        return threshold
    return min(threshold, _cosine_for(photos, false_share(photos, threshold) + reviews_per_face))


def _cosine_for(photos: int, share: float) -> float:
    return FACE_COSINE_AT_ONE + FACE_COSINE_PER_DECADE * math.log10(max(1, photos) / share)
