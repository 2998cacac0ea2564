"""The plot in docs/performance.md, drawn with Pillow."""

from __future__ import annotations

from math import ceil, floor, log10
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_SIZE = (1000, 620)
_LEFT, _TOP, _RIGHT, _BOTTOM = 90, 60, 740, 550
_COLOURS = ("#c0392b", "#2471a3", "#7d3c98", "#138d75", "#7e5109", "#7f8c8d")


def cost_against_size(runs: list[dict[str, Any]], path: Path) -> None:
    """CPU microseconds per code against the number of codes, both logarithmic: batch 1,000 solid, batch 1 hollow."""
    runs = [run for run in runs if run["kind"] == "pdq"]
    lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for run in runs:
        for name, found in run["engines"].items():
            for batch in ("1", "1000"):
                lines.setdefault((name, batch), []).append((log10(run["size"]), log10(found["us"][batch])))
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    west, east, south, north = min(xs) - 0.1, max(xs) + 0.1, floor(min(ys)), ceil(max(ys))

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - west) / (east - west) * (_RIGHT - _LEFT),
            _BOTTOM - (y - south) / (north - south) * (_BOTTOM - _TOP),
        )

    picture = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(picture)
    text = ImageFont.load_default(16)
    draw.text((_LEFT, 20), "CPU time per looked-up code against size of the list, PDQ-like codes", "black", text)
    for power in range(south, north + 1):
        draw.line([at(west, power), at(east, power)], "#dddddd")
        draw.text((10, at(west, power)[1] - 9), f"{10**power:,} us", "black", text)
    for x in sorted(set(xs)):
        draw.line([at(x, south), at(x, north)], "#dddddd")
        draw.text((at(x, south)[0] - 30, _BOTTOM + 10), f"{round(10**x):,}", "black", text)
    names = list(dict.fromkeys(name for name, _ in lines))
    for (name, batch), points in lines.items():
        colour = _COLOURS[names.index(name) % len(_COLOURS)]
        places = [at(*point) for point in points]
        draw.line(places, colour, 3 if batch == "1000" else 1)
        for x, y in places:
            draw.ellipse((x - 6, y - 6, x + 6, y + 6), colour if batch == "1000" else "white", colour, 2)
    for number, name in enumerate(names):
        y = _TOP + 30 * number
        draw.ellipse((_RIGHT + 20, y, _RIGHT + 32, y + 12), _COLOURS[number % len(_COLOURS)])
        draw.text((_RIGHT + 42, y - 4), name, "black", text)
    draw.text((_RIGHT + 20, _TOP + 30 * len(names) + 10), "full: batch 1,000\nhollow: batch 1", "black", text)
    picture.save(path, optimize=True)
