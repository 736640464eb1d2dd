"""The law on each server, with a session of anyws on top: what holds, what cannot.

The table of docs/explained/servers.md is what stands here, held against real servers:
Hypercorn's workers, our class under uvicorn and our own server in the session `alone`,
the others by `nox -s servers`, which
writes the table too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from ..support import real_servers
from ..support.probes import LAW
from ..support.real_servers import Asked

PAGE: Final = Path(__file__).resolve().parents[2] / "docs/explained/servers.md"
WRITE: Final = "WRITE_SERVERS"  # in the environment: ask all servers, write the table
START, END = "<!-- servers: -->\n", "<!-- :servers -->\n"

#: The columns of the table, and the servers that each stands for.
COLUMNS: Final = {
    "Hypercorn asyncio": ("hypercorn-asyncio", "hypercorn-uvloop"),
    "Hypercorn trio": ("hypercorn-trio",),
    "anyws.hypercorn": ("engine-asyncio", "engine-uvloop", "engine-trio"),
    "anyws.uvicorn": ("uvicorn_anyws-asyncio", "uvicorn_anyws-uvloop"),
    "anyws.serve": ("serve-asyncio", "serve-uvloop", "serve-trio"),
    "Anycorn": ("anycorn-asyncio", "anycorn-trio"),
    "uvicorn": ("uvicorn",),
    "Granian": ("granian",),
    "Daphne": ("daphne",),
}

#: Those that CI asks: the ones that the library is made for. Two groups, one after the
#: other, as each has to be asked within the time of one test.
CI: Final = (
    (
        *COLUMNS["Hypercorn asyncio"],
        *COLUMNS["Hypercorn trio"],
        *COLUMNS["anyws.hypercorn"],
    ),
    (*COLUMNS["anyws.uvicorn"], *COLUMNS["anyws.serve"]),
)

HYPERCORN: Final = ("hypercorn-asyncio", "hypercorn-uvloop", "hypercorn-trio")
HIDDEN: Final = "Hypercorn reports every leaving of a peer as 1006."
REASON: Final = "The server does not pass the reason on."
GONE: Final = "The server ends the transport before the application can close."
WAITS: Final = (
    "Hypercorn on asyncio waits for open connections before it cancels their handlers, "
    "since Python 3.12."
)
UNBOUNDED: Final = "Daphne's own queue has no bound."
EMPTY: Final = "Daphne does not send empty messages."
FRAMES: Final = (
    "ASGI has no event for it: only servers whose frames are ours can do it."
)

#: The servers that keep their frames to themselves.
FOREIGN: Final = (
    *HYPERCORN,
    *("anycorn-asyncio", "anycorn-trio", "uvicorn", "granian", "daphne"),
)

#: Where a check fails, and why: check -> server -> reason.
DIFFERENCES: Final[dict[str, dict[str, str]]] = {
    "the_peers_close_code_is_known": dict.fromkeys(HYPERCORN, HIDDEN),
    "the_peers_close_reason_is_known": {
        **dict.fromkeys(HYPERCORN, HIDDEN),
        **dict.fromkeys(
            ("anycorn-asyncio", "anycorn-trio", "granian", "daphne"), REASON
        ),
    },
    "a_missing_code_is_1005": dict.fromkeys(HYPERCORN, HIDDEN),
    "a_chatty_peer_is_held_up": {"daphne": UNBOUNDED},
    "messages_pass_in_parts": dict.fromkeys(FOREIGN, FRAMES),
    "a_handler_can_ping_its_peer": dict.fromkeys(FOREIGN, FRAMES),
    "messages_are_the_same_everywhere": {"daphne": EMPTY},
    "a_server_that_stops_closes_with_1012": {
        "hypercorn-asyncio": WAITS,
        "granian": GONE,
        "daphne": GONE,
    },
}


def table() -> str:
    """Return the table as Markdown."""
    notes: list[str] = []
    lines = [
        f"| rule | | {' | '.join(COLUMNS)} |",
        f"|---:|---|{':---:|' * len(COLUMNS)}",
    ]
    for name, check in LAW.items():
        cells = []
        for servers in COLUMNS.values():
            found = [DIFFERENCES.get(name, {}).get(server) for server in servers]
            reasons = list(dict.fromkeys(filter(None, found)))
            for reason in reasons:
                if reason not in notes:
                    notes.append(reason)
            marks = "".join(str(notes.index(reason) + 1) for reason in reasons)
            some = any(reason is None for reason in found)
            yes = "yes" if some and not reasons else "in part" if some else "no"
            cells.append(f"{yes}<sup>{marks}</sup>" if marks else yes)
        says = name.replace("_", " ").replace("peers", "peer's")
        lines.append(f"| {check.rule} | {says} | {' | '.join(cells)} |")
    lines.append("")
    lines += [f"{n}. {reason}" for n, reason in enumerate(notes, 1)]
    return "\n".join(lines) + "\n"


def written(text: str) -> str:
    """Return the page with the table in its place."""
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{table()}\n{END}{rest.partition(END)[2]}"


SERVERS: Final = [server for servers in COLUMNS.values() for server in servers]
ASKED_IN_CI: Final = [server for group in CI for server in group]
GROUPS: Final = (*CI, tuple(name for name in SERVERS if name not in ASKED_IN_CI))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Asked]:
    """Give the answers of a server; its group is asked when one is wanted first."""
    folder = tmp_path_factory.mktemp("law")
    answers: dict[tuple[str, ...], Asked] = {}

    def of(server: str) -> Asked:
        group = next(group for group in GROUPS if server in group)
        if group not in answers:
            answers[group] = Asked(group, LAW, folder)
        return answers[group]

    return of


@pytest.mark.alone
@pytest.mark.parametrize("name", list(LAW))
@pytest.mark.parametrize("server", SERVERS)
def test_what_the_table_says(
    asked: Callable[[str], Asked], server: str, name: str
) -> None:
    """A check holds on a server, unless the table says why not; then it does not."""
    expected = LAW[name].expected
    reason = DIFFERENCES.get(name, {}).get(server)
    if server not in ASKED_IN_CI and WRITE not in os.environ:
        pytest.skip("asked for by `nox -s servers`")
    real_servers.need(server)
    answer = asked(server).answer(server, name, expected, reason is None)
    assert (answer == expected) is (reason is None), (reason, answer)


def test_the_page_has_the_table() -> None:
    """What it says is what is held here."""
    if WRITE in os.environ:
        PAGE.write_text(written(PAGE.read_text()))
    assert written(PAGE.read_text()) == PAGE.read_text()
