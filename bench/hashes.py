"""Hashes of other projects, computed in an environment of their own: `bench/copies.py` starts this and asks it.

One request: four bytes of length, little-endian, and a picture file. One answer: a line of JSON, by project the hash in
hex (empty when it gives none) and the milliseconds of processor time it took, decoding included.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import time
from collections.abc import Callable

import imagehash
import numpy as np
import pdqhash
from PIL import Image
from threatexchange.signal_type.pdq.signal import PdqSignal


def _picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


HASHES: dict[str, Callable[[bytes], str]] = {
    "threatexchange": PdqSignal.hash_from_bytes,
    "pdqhash": lambda data: np.packbits(pdqhash.compute(np.asarray(_picture(data)))[0]).tobytes().hex(),
    "imagehash": lambda data: str(imagehash.phash(_picture(data))),
}


def main() -> None:
    while head := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
        answer = {}
        for name, hash_of in HASHES.items():
            started = time.process_time()
            code = hash_of(data)
            answer[name] = code, (time.process_time() - started) * 1e3
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
