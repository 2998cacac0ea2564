"""What the first pages of the site weigh and how long its server takes: `python -m bench.pages [--runs 20]`.

Starts an embedded AWS of its own. A first answer is that of a fresh process of the function. Gateway, function and
whatever else runs share the machine.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import httpx

from local.embedded_aws import EmbeddedAws

PAGES = ("/", "/opt-out?kind=face", "/opt-out?kind=links&lang=ar", "/help")


def main(arguments: list[str]) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages")
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args(arguments).runs
    with (
        tempfile.TemporaryDirectory(prefix="image-optout-pages-") as place,
        EmbeddedAws(Path(place)) as aws,
        aws.running.http(headers={"Accept": "text/html"}) as browser,
    ):
        print("| page | first answer | median of later ones | page | with style sheet, icon and scripts | compressed |")
        print("|---|---|---|---|---|---|")
        for page in PAGES:
            first, body = _get(browser, page)
            later = median(_get(browser, page)[0] for _ in range(runs))
            parts = [body, *(_get(browser, path)[1] for path in _loaded(body.decode()))]
            whole, packed = sum(map(len, parts)), sum(len(gzip.compress(part)) for part in parts)
            print(
                f"| `{page}` | {first:.0f} ms | {later:.0f} ms | {len(body) / 1e3:.1f} kB | {whole / 1e3:.1f} kB "
                f"| {packed / 1e3:.1f} kB |"
            )
    return 0


def _get(browser: httpx.Client, path: str) -> tuple[float, bytes]:
    """Milliseconds until the whole answer was there, and its body."""
    started = time.perf_counter()
    answer = browser.get(path)
    took = (time.perf_counter() - started) * 1e3
    answer.raise_for_status()
    return took, answer.content


def _loaded(page: str) -> list[str]:
    """What a browser fetches besides the page: its style sheets, icon and scripts."""
    links = re.findall(r'<link [^>]*href="([^"]+)"', page) + re.findall(r'<script src="([^"]+)"', page)
    return [link for link in links if "/static/" in link]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
