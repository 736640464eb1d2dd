"""The chat in a real browser: two tabs of headless Chromium talk to each other."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from ..support.chromium import browser, tab
from .test_examples import WORKERS, chatting


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
        bob.hears("* bob has come", "ann: hello")
        bob.say("<b>hi</b>")
        ann.hears("* ann has come", "* bob has come", "ann: hello", "bob: <b>hi</b>")
        process.terminate()
        for member in (ann, bob):
            member.wait_for(
                "document.getElementById('state').textContent",
                "closed: 1012",
            )
        assert process.wait(10) == 0
