from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from optout.chart import Line, draw


def test_every_curve_is_drawn_in_a_colour_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "chart.png"
    lines = [
        Line("measured", [(10, 1e-3), (1_000, 1e-1)], dots=True),
        Line("fit", [(10, 1e-3), (100_000, 1)], dashed=True),
        Line("other", [(10, 1e-2), (100, 1e-2)]),
    ]
    draw(path, "Title", "across", "up", lines, log_x=True, log_y=True)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)):
        assert (pixels == colour).all(axis=1).sum() > 50


def test_what_a_logarithm_cannot_show_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "chart.png"
    draw(path, "Title", "across", "up", [Line("one", [(0, 1), (1, 0), (2, 3), (4, 5)])], log_x=True, log_y=True)
    assert path.stat().st_size > 1_000
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(path, "Title", "across", "up", [Line("none", [(1, 0)])], log_x=False, log_y=True)
