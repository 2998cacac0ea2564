"""Line charts as PNG, drawn with Pillow: enough for a report, without another dependency."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _HEIGHT = 900, 560
# On the right there is room for the names of the curves.
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 200, 60, 70
# Told apart also by those who see few colours (Okabe and Ito).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_TICKS = 6


@dataclass(frozen=True)
class Line:
    """One curve: its name (without one it is not in the key), its points, whether it is dashed (a fit, not a
    measurement) or drawn as dots only."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False
    dots: bool = False
    colour: int | None = None


def draw(path: Path, title: str, across: str, up: str, lines: Sequence[Line], *, log_x: bool, log_y: bool) -> None:
    """Write a chart. Points that a logarithmic axis cannot show are left out. Raises ValueError when none is left."""
    shown = [
        (line, [(x, y) for x, y in line.points if (x > 0 or not log_x) and (y > 0 or not log_y)]) for line in lines
    ]
    points = [point for _, kept in shown for point in kept]
    if not points:
        raise ValueError("there is nothing to draw")
    place_x, ticks_x = _axis([x for x, _ in points], _LEFT, _WIDTH - _RIGHT, log_x)
    place_y, ticks_y = _axis([y for _, y in points], _HEIGHT - _BOTTOM, _TOP, log_y)
    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    small, large = ImageFont.load_default(13), ImageFont.load_default(17)
    pen.text((_LEFT, 12), title, "black", large)
    pen.text((_LEFT, 36), up, "#444444", small)
    pen.text((_WIDTH - _RIGHT, _HEIGHT - 28), across, "#444444", small, anchor="ra")
    for x in ticks_x:
        pen.line((place_x(x), _TOP, place_x(x), _HEIGHT - _BOTTOM), "#dddddd")
        pen.text((place_x(x), _HEIGHT - _BOTTOM + 6), f"{x:.4g}", "black", small, anchor="ma")
    for y in ticks_y:
        pen.line((_LEFT, place_y(y), _WIDTH - _RIGHT, place_y(y)), "#dddddd")
        pen.text((_LEFT - 8, place_y(y)), f"{y:.4g}", "black", small, anchor="rm")
    for number, (line, kept) in enumerate(shown):
        colour = _COLOURS[(number if line.colour is None else line.colour) % len(_COLOURS)]
        placed = [(place_x(x), place_y(y)) for x, y in kept]
        if line.dots:
            for x, y in placed:
                pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
        else:
            _polyline(pen, placed, colour, line.dashed)
        if line.name:
            top = _TOP + 10 + 20 * number
            pen.line((_WIDTH - _RIGHT + 15, top, _WIDTH - _RIGHT + 40, top), colour, 3)
            pen.text((_WIDTH - _RIGHT + 47, top), line.name, "black", small, anchor="lm")
    image.save(path, "PNG", optimize=True)


def _polyline(pen: ImageDraw.ImageDraw, placed: Sequence[tuple[float, float]], colour: str, dashed: bool) -> None:
    for (x, y), (next_x, next_y) in pairwise(placed):
        pieces = max(1, round(math.dist((x, y), (next_x, next_y)) / 6)) if dashed else 1
        for piece in range(0, pieces, 2):
            start, end = piece / pieces, (piece + 1) / pieces
            pen.line(
                (
                    x + (next_x - x) * start,
                    y + (next_y - y) * start,
                    x + (next_x - x) * end,
                    y + (next_y - y) * end,
                ),
                colour,
                2,
            )


def _axis(values: Sequence[float], start: int, end: int, log: bool) -> tuple[Callable[[float], float], list[float]]:
    """Where a value goes, in pixels, and the values that are named."""
    scale: Callable[[float], float] = math.log10 if log else float
    low, high = scale(min(values)), scale(max(values))
    if log:
        low, high = math.floor(low), math.ceil(high)
        step = max(1, math.ceil((high - low) / 8))
        ticks = [10.0**power for power in range(int(low), int(high) + 1, step)]
    else:
        rough = ((high - low) or 1.0) / _TICKS
        step_size = 10 ** math.floor(math.log10(rough))
        step_size *= next(factor for factor in (1, 2, 5, 10) if factor * step_size >= rough)
        first, last = math.floor(low / step_size), math.ceil(high / step_size)
        ticks = [number * step_size for number in range(first, last + 1)]
        low, high = ticks[0], ticks[-1]
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return start + (scale(value) - low) / span * (end - start)

    return place, ticks
