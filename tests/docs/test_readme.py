"""The README's code runs as it stands, with what a user has installed.

Needs anyws, pytest, trio and FastAPI, and nothing else of the tests: `nox -s build`
runs it against the wheel.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

import anyws
from anyws.testing import connect

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = (ROOT / "README.md").read_text()
FASTAPI, SERVER, CLIENT, TEST = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(code: str, **names: Any) -> dict[str, Any]:
    """Run a block of code; return what it defines."""
    names["__name__"] = "readme"
    exec(compile(code, "README.md", "exec", dont_inherit=True), names)
    return names


async def test_the_fastapi_line() -> None:
    """A send to a client that has gone ends the handler, without an error."""
    app = pytest.importorskip("fastapi").FastAPI()
    run(FASTAPI, app=app)
    ended = anyio.Event()

    async def handler(websocket: Any) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("token")
        finally:
            ended.set()

    app.router.add_websocket_route("/ws", handler)
    async with connect(app, server="hypercorn-trio") as ws:
        assert await ws.receive_text() == "token"
        ws.abort()
        with anyio.fail_after(5):
            await ended.wait()


async def test_the_server_and_the_client(capsys: pytest.CaptureFixture[str]) -> None:
    """The client prints what the server sends back."""
    async with anyws.serve(run(SERVER)["app"], "127.0.0.1") as server:
        code, _, last = CLIENT.rstrip().rpartition("\n")
        assert last == 'anyio.run(main, backend="trio")'
        await run(code.replace("ws://127.0.0.1:8000", server.url))["main"]()
    assert capsys.readouterr().out == "hello\n"


def test_the_test(tmp_path: Path) -> None:
    """It passes in an empty project, on both backends; so does that of the site."""
    (tmp_path / "test_echo.py").write_text(TEST)
    shown = (ROOT / "docs/snippets" / "test_echo.py").read_text()
    (tmp_path / "test_shown.py").write_text(shown)
    (tmp_path / "echo.py").write_text(SERVER)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "pytest", "-v"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for backend in ("asyncio", "trio"):
        assert f"test_echo.py::test_echo[{backend}] PASSED" in done.stdout
        assert f"test_shown.py::test_echo[{backend}] PASSED" in done.stdout


def test_the_readme_is_short() -> None:
    """It has at most 150 lines, and all its code before line 70."""
    assert README.count("\n") <= 150
    assert README[: README.index(TEST) + len(TEST)].count("\n") < 70
    blocks = (FASTAPI, SERVER, CLIENT, TEST)
    sizes = [len(list(filter(None, block.splitlines()))) for block in blocks]
    assert all(size <= most for size, most in zip(sizes, (3, 12, 8, 8), strict=True))


def test_links_of_the_readme_are_there() -> None:
    """Each file that the README links to exists."""
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).is_file(), target
