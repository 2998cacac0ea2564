"""How far the codes that a browser computes are from those of `functions/examine`, for the pictures of some folders.

    python -m bench.in_browser .local/pictures /path/to/photos

Every picture is also made larger than what is worked on, turned by its EXIF, and saved in the other formats that
browsers open. Prints the distribution of the distance in bits, of 256, over the eight ways round. The result goes into
docs/accuracy.md; tests/browser/test_codes.py holds the test pictures to a bound.
"""

from __future__ import annotations

import argparse
import base64
import io
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from importlib.resources import as_file, files
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from optout.errors import PhotoUnreadable
from optout.fingerprint.image import decode
from optout.fingerprint.pdq import PDQ_MIN_QUALITY, distance, pdq_hashes
from tests.browser.visitor import ARGUMENTS, CHROMIUM

# A picture as the page's own script sees it when a person chooses a file.
_COMPUTE = """async ([module, data]) => {
    const { codesOf } = await import(module);
    const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
    try {
        return await codesOf(new File([bytes], "picture"));
    } catch (problem) {
        return { problem: problem.message };
    }
}"""


def in_browser(page: Page, module: str, data: bytes) -> dict[str, Any]:
    """What the page's script computes of a file, or {"problem": why not}. `module` is the address of pdq.js."""
    found: dict[str, Any] = page.evaluate(_COMPUTE, [module, base64.b64encode(data).decode()])
    return found


def distances(found: dict[str, Any], data: bytes) -> list[int]:
    """Bits between the eight codes of the browser and those that the server would compute of the same file."""
    codes, _ = pdq_hashes(decode(data).rgb)
    return [distance(bytes.fromhex(code), ours) for code, ours in zip(found["codes"], codes, strict=True)]


def variants(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The file itself and what it is saved as: by name of what was done."""
    yield "as it is", data
    image = Image.open(io.BytesIO(data)).convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    yield "JPEG, turned by its EXIF", _saved(image, "JPEG", quality=90, exif=turned)
    yield "PNG", _saved(image, "PNG")
    clear = image.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(image.size))
    yield "PNG, half transparent", _saved(clear, "PNG")
    yield "WebP", _saved(image, "WEBP", quality=85)
    yield "AVIF", _saved(image, "AVIF", quality=70)
    scale = 5_000 / max(image.size)
    large = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    yield "JPEG of 5,000 pixels", _saved(large, "JPEG", quality=85)


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@contextmanager
def blank_page() -> Iterator[tuple[Page, str]]:
    """A page of Chromium, and the address that it gets pdq.js from."""
    with tempfile.TemporaryDirectory() as folder, as_file(files("optout").joinpath("web/static/pdq.js")) as script:
        (Path(folder) / "pdq.js").write_bytes(script.read_bytes())
        (Path(folder) / "index.html").write_text("<!doctype html><title>codes</title>")
        server = HTTPServer(("localhost", 0), partial(_Quiet, directory=folder))
        Thread(target=server.serve_forever, daemon=True).start()
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = chromium.new_page()
            page.goto(f"http://localhost:{server.server_port}/index.html")
            yield page, f"http://localhost:{server.server_port}/pdq.js"
            chromium.close()
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only every n-th picture")
    arguments = parser.parse_args()
    paths = sorted(path for folder in arguments.folders for path in folder.rglob("*") if path.is_file())
    found: dict[str, list[int]] = {}
    refused: Counter[str] = Counter()
    pictures = 0
    with blank_page() as (page, module):
        for path in paths[:: arguments.every]:
            data = path.read_bytes()
            try:
                _, quality = pdq_hashes(decode(data).rgb)
            except PhotoUnreadable:
                continue
            if quality < PDQ_MIN_QUALITY:
                continue
            pictures += 1
            for name, variant in variants(data):
                codes = in_browser(page, module, variant)
                if "problem" in codes:
                    refused[f"{name}: {codes['problem']}"] += 1
                else:
                    found.setdefault(name, []).extend(distances(codes, variant))
    print(f"{pictures} pictures")
    for name, bits in {**found, "all": [each for every in found.values() for each in every]}.items():
        median, most, rare = np.percentile(bits, [50, 99, 99.9])
        share = f"median {median:4.0f}   p99 {most:4.0f}   p99.9 {rare:4.0f}   max {max(bits)}"
        print(f"{name:28} {len(bits):7,} codes   {share}")
    print("refused:", dict(refused))


if __name__ == "__main__":
    main()
