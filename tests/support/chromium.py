"""Headless Chromium, and its tabs, driven by the DevTools protocol."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


class Tab:
    """A tab, driven by the DevTools protocol."""

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools = devtools
        self._calls = 0

    def call(self, method: str, **params: Any) -> Any:
        """Return the result of a method of the DevTools protocol."""
        self._calls += 1
        call = {"id": self._calls, "method": method, "params": params}
        self._devtools.send(json.dumps(call))
        while True:
            answer = json.loads(self._devtools.recv(timeout=10))
            if answer.get("id") == self._calls:
                return answer["result"]

    def run(self, script: str) -> Any:
        """Return the value of a script."""
        answer = self.call("Runtime.evaluate", expression=script)
        return answer["result"].get("value")

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)
        files = [str(path)]
        self.call("DOM.setFileInputFiles", files=files, nodeId=node["nodeId"])

    def press(self, key: str) -> None:
        """Press a key, and let it go; `Enter` acts as it does on a button."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            code = {"Enter": 13, "Escape": 27, "Tab": 9}[key]
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **text,
            )

    def wait_for(self, script: str, value: Any) -> None:
        """Wait until a script has this value."""
        deadline = time.monotonic() + 10
        while (seen := self.run(script)) != value:
            assert time.monotonic() < deadline, seen
            time.sleep(0.02)

    def enter(self, name: str) -> None:
        """Enter the lobby under a name."""
        self.wait_for(
            "document.readyState === 'complete' && !!document.getElementById('enter')",
            True,
        )
        self.run(f"document.getElementById('name').value = '{name}'")
        self.run("document.querySelector('#enter button').click()")
        self.wait_for("document.getElementById('state').textContent", "connected")

    def say(self, text: str) -> None:
        """Say something."""
        self.run(f"document.getElementById('text').value = '{text}'")
        self.run("document.querySelector('#say button').click()")

    def hears(self, *lines: str) -> None:
        """Wait for all lines so far."""
        script = "document.getElementById('lines').innerText"
        self.wait_for(script, "\n".join(lines))


@contextmanager
def browser(profile: Path) -> Iterator[str]:
    """Run Chromium; yield the address of its DevTools."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        port_file, deadline = profile / "DevToolsActivePort", time.monotonic() + 20
        while not port_file.is_file() or not port_file.read_text():
            assert time.monotonic() < deadline, "chromium did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def tab(devtools: str, url: str) -> Iterator[Tab]:
    """Open a tab."""
    request = urllib.request.Request(f"{devtools}/json/new?{url}", method="PUT")
    with urllib.request.urlopen(request) as response:
        address = json.load(response)["webSocketDebuggerUrl"]
    with connect(address) as connection:
        yield Tab(connection)
