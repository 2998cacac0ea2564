"""The site in a real browser: Chromium, one for all these tests, and a context of their own for each person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from local.running import Running
from tests.browser.visitor import ARGUMENTS, CHROMIUM, WITHIN_MS, Visitor

OpenBrowser = Callable[..., Visitor]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Ends with the last of these tests: Playwright keeps an event loop running, which other tests cannot share."""
    expect.set_options(timeout=WITHIN_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_browser(chromium: Browser, running: Running) -> Iterator[OpenBrowser]:
    """`open_browser(javascript=False)`: a visitor's browser, which no page may give cause to complain."""
    opened: list[Visitor] = []
    with ExitStack() as stack:

        def start(**settings: object) -> Visitor:
            opened.append(stack.enter_context(Visitor(chromium, running, **settings)))  # type: ignore[arg-type]
            return opened[-1]

        yield start
    assert [complaint for visitor in opened for complaint in visitor.complaints] == []


@pytest.fixture(params=[True, False], ids=["script", "no-script"])
def visitor(open_browser: OpenBrowser, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A requester's browser: once a phone with JavaScript, once a desk without. Every answer of 400 or more must be
    expected: a test takes those it meant to see out of `refused`."""
    width, height = (360, 740) if request.param else (1280, 800)
    visitor = open_browser(javascript=request.param, width=width, height=height)
    yield visitor
    assert visitor.refused == []
