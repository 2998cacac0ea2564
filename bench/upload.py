"""How long the look at one uploaded photo takes: `python -m bench.upload PHOTO`, a photo that shows a face.

The photo is enlarged to what phones take, with the fine noise that their sensors add, and looked at as `examine` does.
Processor time, since that does not depend on who else uses the machine; the best of three.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from optout.examination import look_at
from optout.fingerprint import decode, reencode
from optout.fingerprint.faces import find_faces
from optout.requests import Kind
from optout.store import MAX_UPLOAD_BYTES

# Long side, short side, JPEG quality and strength of the noise: the usual photo of 12 million pixels, the same hardly
# compressed, and one of 49 million pixels.
PHONES = ((4032, 3024, 88, 6.0), (4032, 3024, 98, 12.0), (8064, 6048, 85, 6.0))


def taken(photo: Image.Image, wide: int, high: int, quality: int, noise: float) -> bytes:
    """The photo as a phone would store it."""
    large = np.asarray(photo.resize((wide, high), Image.Resampling.BICUBIC), dtype=np.float32)
    grain = np.random.default_rng(1).standard_normal(large.shape, dtype=np.float32) * noise
    file = io.BytesIO()
    Image.fromarray((large + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def seconds(work: Callable[[], object]) -> float:
    """The least processor time of three runs."""
    found = []
    for _ in range(3):
        before = time.process_time()
        work()
        found.append(time.process_time() - before)
    return min(found)


def main() -> int:
    """Print one row for each kind of photo."""
    with Image.open(Path(sys.argv[1])) as opened:
        photo = opened.convert("RGB")
    print("| million pixels | MB | decode | faces | keep a copy | whole look, s |\n|---|---|---|---|---|---|")
    for phone in PHONES:
        data = taken(photo, *phone)
        if len(data) > MAX_UPLOAD_BYTES:
            print(f"{len(data) / 1e6:.1f} MB: more than an upload may be", file=sys.stderr)
            return 1
        picture = decode(data)
        parts = (
            seconds(lambda data=data: decode(data)),  # type: ignore[misc]
            seconds(lambda picture=picture: find_faces(picture.rgb)),  # type: ignore[misc]
            seconds(lambda picture=picture: reencode(picture)),  # type: ignore[misc]
            seconds(lambda data=data: look_at(data, "", Kind.FACE)),  # type: ignore[misc]
        )
        sizes = f"{phone[0] * phone[1] / 1e6:.0f} | {len(data) / 1e6:.1f}"
        print(f"| {sizes} | " + " | ".join(f"{part:.2f}" for part in parts) + " |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
