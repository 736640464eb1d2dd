"""The pages of the examples in a real browser, by the keyboard, on a narrow screen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ..support.chromium import Tab, browser, tab
from .test_examples import served

STATE = "document.getElementById('state').textContent"
# Every control has a name that a screen reader reads.
NAMELESS = """
[...document.querySelectorAll('input, button, progress, [role]')].filter(each =>
  !(each.labels?.length || each.ariaLabel || each.textContent.trim())).length
"""
WIDTH = "document.documentElement.scrollWidth"


class Pages:
    """A server of all pages, and a browser."""

    def __init__(self, devtools: str, address: str) -> None:
        self._devtools = devtools
        self._address = address

    @contextmanager
    def open(self, name: str) -> Iterator[Tab]:
        """Open a page; look at what holds for each of them."""
        with tab(self._devtools, "about:blank") as opened:
            size = {"width": 360, "height": 740, "deviceScaleFactor": 1}
            opened.call("Emulation.setDeviceMetricsOverride", mobile=True, **size)
            opened.call("Page.navigate", url=f"{self._address}/{name}/")
            opened.wait_for("document.readyState === 'complete'", True)
            yield opened
            assert opened.run(NAMELESS) == 0
            assert opened.run(WIDTH) == 360
            assert opened.run("document.scripts[0].src") == ""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """Serve all pages, and run the browser."""
    with ExitStack() as stack:
        devtools = stack.enter_context(browser(tmp_path_factory.mktemp("profile")))
        module = "../tests/support/example_pages"
        _, url = stack.enter_context(served(module, "trio"))
        yield Pages(devtools, url.replace("ws:", "http:"))


def test_an_answer_can_be_stopped(pages: Pages) -> None:
    """By the next question, by Escape, and then the log is read to the user."""
    answers = "[...document.querySelectorAll('.answer')].map(e => e.className).join()"
    busy = "document.querySelectorAll('[aria-busy=true]').length"
    begun = "document.querySelector('.answer:last-child')?.textContent.length > 0"
    with pages.open("answers") as page:
        page.wait_for(STATE, "ready")
        for question in ("One?", "Two?"):
            page.run(f"document.getElementById('question').value = '{question}'")
            page.press("Enter")  # the field has the focus
            said = "document.querySelector('.question:nth-last-child(2)')?.textContent"
            page.wait_for(said, question)
            page.wait_for(begun, True)
        assert page.run(busy) == 1
        page.press("Escape")
        page.wait_for(STATE, "stopped")
        assert page.run(answers) == "answer stopped,answer stopped"
        assert page.run(busy) == 0


def test_a_dashboard_lives(pages: Pages) -> None:
    """Each tile has a value, and says its range where a line is drawn."""
    values = (
        "[...document.querySelectorAll('.value span')].every(e => +e.textContent > 0)"
    )
    with pages.open("dashboard") as page:
        page.wait_for(STATE, "live")
        assert page.run(values)
        ranges = "document.querySelectorAll('svg[aria-label^=between]').length"
        assert page.run(ranges) == 4


def test_a_call_can_be_cancelled(pages: Pages) -> None:
    """While another one is answered; the focus goes where it is of use."""
    hows = "[...document.querySelectorAll('.how')].map(e => e.textContent).join()"
    with pages.open("calls") as page:
        page.wait_for(STATE, "ready")
        page.run("document.getElementById('below').value = 1000000")
        page.run("document.getElementById('start').click()")
        page.run("document.getElementById('below').value = 1000")
        page.run("document.getElementById('start').click()")
        page.wait_for(hows, "168,running")
        page.run("document.querySelector('.running button').focus()")
        page.press("Enter")
        page.wait_for(hows, "168,cancelled")
        assert page.run("document.activeElement.id") == "start"
        assert page.run(STATE) == "ready"


def test_a_file_is_uploaded(pages: Pages, tmp_path: Path) -> None:
    """The page shows how much is written, and what came of it; or that it was not."""
    file = tmp_path / "file.bin"
    file.write_bytes(bytes(range(256)) * 8192)  # 2 MiB: more than may be under way
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with pages.open("upload") as page:
        page.choose_file("#file", file)
        page.run("document.getElementById('start').focus()")
        page.press("Enter")
        page.wait_for(STATE, f"complete; SHA-256 {digest}")
        assert page.run("document.getElementById('bar').value") == 1
        assert page.run("document.getElementById('written').textContent") == (
            "2.1 MB of 2.1 MB"
        )
        page.wait_for("document.getElementById('start').disabled", False)
        page.run("document.getElementById('start').click(); cancel()")
        page.wait_for("document.getElementById('start').disabled", False)
        assert page.run(STATE) == "cancelled"
