"""Pictures of every page, at the width of a telephone and of a desk: `python -m tests.browser.screenshots FOLDER`.

Starts an instance of its own and walks through the story as the tests do.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from local.embedded_aws import EmbeddedAws
from tests.browser.visitor import ARGUMENTS, CHROMIUM, WITHIN_MS, Visitor
from tests.browser.walk import console_pages, public_pages

SIZES = ((360, 740), (1280, 800))


def main(arguments: list[str]) -> int:
    """Write the pictures; 2 when no folder is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tests.browser.screenshots FOLDER\n")
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=WITHIN_MS)
    with (
        tempfile.TemporaryDirectory(prefix="image-optout-screens-") as place,
        EmbeddedAws(Path(place)) as aws,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with Visitor(chromium, aws.running) as ada, Visitor(chromium, aws.running) as anna:
            shoot(folder, ((ada.page, name) for name in public_pages(ada, "ada@people.example")))
            with Visitor(chromium, aws.running) as ben:
                shoot(folder, ((who.page, name) for who, name in console_pages(anna, ben, "ada@people.example")))
        chromium.close()
    return 0


def shoot(folder: Path, pages: Iterable[tuple[Page, str]]) -> None:
    """Each page in both widths, in full height.

    The window is made as high as the page: frames below its edge are not drawn, and what sticks to the top would hang
    in the middle.
    """
    for page, name in pages:
        page.wait_for_load_state("networkidle")
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            needed = int(page.evaluate("document.scrollingElement.scrollHeight"))
            page.set_viewport_size({"width": width, "height": max(height, needed)})
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=folder / f"{name}-{width}.png")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
