"""The chat in a real browser: two tabs of headless Chromium talk to each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ..support.chromium import Tab, browser, tab
from ..support.real_servers import need, serving
from ..support.snippets import SNIPPETS
from ..support.wires import cuttable
from .test_examples import WORKERS, chatting

STATE = "document.getElementById('state').textContent"
LINES = "document.getElementById('lines').innerText"


@pytest.mark.parametrize("worker", WORKERS)
def test_two_tabs_chat(worker: str, tmp_path: Path) -> None:
    """Each hears both; what they say is text, not HTML; stopping is seen as 1012."""
    with ExitStack() as stack:
        process, url = stack.enter_context(chatting(worker))
        devtools = stack.enter_context(browser(tmp_path))
        ann, bob = (stack.enter_context(tab(devtools, url)) for _ in range(2))
        ann.enter("ann")
        ann.hears("* ann has come")
        bob.enter("bob")
        ann.say("hello")
        bob.hears("* ann has come", "* bob has come", "ann: hello")
        bob.say("<b>hi</b>")
        ann.hears("* ann has come", "* bob has come", "ann: hello", "bob: <b>hi</b>")
        people = "[...document.querySelectorAll('#people li')].map(e => e.textContent)"
        mine = "[...document.querySelectorAll('.mine')].map(e => e.textContent)"
        for member, said in (ann, "ann: hello"), (bob, "bob: <b>hi</b>"):
            member.wait_for(f"{people}.join()", "ann,bob")
            member.wait_for(f"{mine}.join()", said)
        process.terminate()
        for member in (ann, bob):
            member.wait_for(
                "document.getElementById('state').textContent",
                "lost: 1012; trying again",
            )
        assert process.wait(10) == 0


@pytest.mark.parametrize("worker", WORKERS)
def test_a_tab_that_was_cut_off_shows_what_the_others_show(
    worker: str, tmp_path: Path
) -> None:
    """It connects again by itself, and goes on where it was."""
    with ExitStack() as stack:
        _, url = stack.enter_context(chatting(worker))
        wire = stack.enter_context(cuttable(urlsplit(url).port or 0))
        devtools = stack.enter_context(browser(tmp_path))
        bob = stack.enter_context(tab(devtools, url))
        ann = stack.enter_context(tab(devtools, f"http://127.0.0.1:{wire.port}/"))
        ann.enter("ann")
        bob.enter("bob")
        bob.say("before")
        ann.hears("* ann has come", "* bob has come", "bob: before")
        wire.cut()
        ann.wait_for(f"{STATE}.startsWith('lost')", True)
        bob.hears("* ann has come", "* bob has come", "bob: before", "* ann has gone")
        for number in range(20):
            bob.say(f"line {number}")
        wire.mend()
        ann.wait_for(STATE, "connected")
        ann.say("back")
        bob.wait_for(f"{LINES}.endsWith('ann: back')", True)
        ann.hears(*bob.run(LINES).split("\n"))
        assert bob.run(LINES).count("line") == 20


def outcome(page: Tab, url: str, offers: str = "[]") -> str:
    """Open a WebSocket in a page; return what becomes of it."""
    page.wait_for("document.title + document.readyState", "pagecomplete")
    page.run(
        f"window.result = ''; var ws = new WebSocket('{url}', {offers});"
        "ws.onopen = () => {window.result = 'open ' + ws.protocol; ws.close()};"
        "ws.onerror = () => {window.result = 'refused'}"
    )
    page.wait_for("window.result !== ''", True)
    result: str = page.run("window.result")
    return result


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str, Path]]:
    """Give the port of a server with pages, the address of a browser, and the log."""
    server, folder = need("engine-asyncio"), tmp_path_factory.mktemp("served")
    with serving(server, "browser_app:app", folder) as (port, _):
        with browser(folder / "profile") as devtools:
            yield port, devtools, folder / f"{server}.log"


def test_a_page_of_another_origin_is_refused(served: tuple[int, str, Path]) -> None:
    """A browser says which page it is; and a token goes by the subprotocols."""
    port, devtools, log_path = served
    with ExitStack() as stack:
        # One server by two names: two origins.
        here = stack.enter_context(tab(devtools, f"http://127.0.0.1:{port}/"))
        other = stack.enter_context(tab(devtools, f"http://localhost:{port}/"))
        same, token = (f"ws://127.0.0.1:{port}/{path}" for path in ("same", "token"))
        assert outcome(here, same) == "open "
        assert outcome(other, same) == "refused"
        assert outcome(other, token, "['bearer', 's3cret']") == "open bearer"
        assert outcome(other, token, "['bearer', 'wrong']") == "refused"
        log = log_path.read_text(errors="replace")
        assert f"from the origin 'http://localhost:{port}'" in log
        assert "s3cret" not in log


def test_a_page_answers_heartbeats(served: tuple[int, str, Path]) -> None:
    """By the function that the documentation shows; other listeners see none."""
    port, devtools, _ = served
    with tab(devtools, f"http://127.0.0.1:{port}/") as page:
        page.wait_for("document.title + document.readyState", "pagecomplete")
        page.run((SNIPPETS / "heartbeat.js").read_text())
        page.run(
            f"window.seen = new Set(); var ws = new WebSocket('ws://127.0.0.1:{port}/beating');"
            "heed(ws); ws.onmessage = (event) => { seen.add(event.data) };"
            "ws.onopen = () => setInterval(() => ws.send('?'), 50)"
        )
        page.wait_for("seen.has('true')", True)
        assert set(page.run("[...seen].join()").split(",")) <= {"false", "true"}
        page.run("heed(ws, 0)")
        page.wait_for("ws.readyState === WebSocket.CLOSED", True)
