"""The files for Docker, systemd and Kubernetes say what is so.

The command in them is run, and ended as these would end it. Neither an image nor a
cluster is made.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.exceptions import ConnectionClosed

from ..support.redis_servers import NEEDS_REDIS, redis_server
from ..support.snippets import ROOT, SNIPPETS
from ..whole.test_examples import joined, running

DOCKERFILE: Final = (SNIPPETS / "Dockerfile").read_text()
SERVICE: Final = SNIPPETS / "anyws.service"


def service() -> configparser.ConfigParser:
    """Return the file for systemd."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # as systemd does
    parser.read_string(SERVICE.read_text())
    return parser


def command_of(file: str) -> list[str]:
    """Return the command that a file starts, without the Python that runs it."""
    if file == "Dockerfile":
        [line] = re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)
        words: list[str] = json.loads(line)
    else:
        words = shlex.split(service()["Service"]["ExecStart"])
    assert Path(words[0]).name == "python"
    return words[1:]


def port_of(file: str) -> int:
    """Return the port that the command binds."""
    [port] = [re.sub(r".*:", "", word) for word in command_of(file) if ":8" in word]
    return int(port)


def test_the_commands_are_alike() -> None:
    """Only the address differs, so that it is enough to run one of them."""
    address = re.compile(r"[\d.]+:")
    image, unit = (
        [address.sub("", word) for word in command_of(file)]
        for file in ("Dockerfile", "anyws.service")
    )
    assert image == unit


@pytest.mark.slow
def test_the_command_serves_until_sigterm() -> None:
    """A client's messages come back, and SIGTERM closes with 1012, in time."""
    pytest.importorskip("hypercorn")
    pytest.importorskip("trio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = re.compile(r"[\d.]+:8000")
    shown = command_of("anyws.service")
    command = [address.sub(f"127.0.0.1:{port}", word) for word in shown]
    assert command != shown
    with running(*command) as process, joined(f"ws://127.0.0.1:{port}/") as client:
        client.send("hello")
        assert client.recv(timeout=5) == "hello"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
        assert process.wait(float(service()["Service"]["TimeoutStopSec"])) == 0


def test_the_image(tmp_path: Path) -> None:
    """It has a Python that is tested, the wheel with its extras, and an open port."""
    project = (ROOT / "pyproject.toml").read_text()
    [python] = re.findall(r"^FROM python:([\d.]+)-slim$", DOCKERFILE, re.MULTILINE)
    assert f'"Programming Language :: Python :: {python}"' in project
    # By the shell, as the line is of a shell: what is it that pip gets?
    wheel = "anyws_websockets-1.0-py3-none-any.whl"
    (tmp_path / wheel).touch()
    [line] = re.findall(r"^RUN (pip install .+)$", DOCKERFILE, re.MULTILINE)
    shell = f"pip() {{ printf '%s\\n' \"$@\"; }}; {line}"
    words = subprocess.check_output(["sh", "-c", shell], cwd=tmp_path, text=True)
    installed, _, extras = words.splitlines()[-1].rstrip("]").partition("[")
    assert installed == f"./{wheel}"
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE)
    assert re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE) == [
        str(port_of("Dockerfile"))
    ]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """Its own check finds nothing, where systemd is installed."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    text = SERVICE.read_text().replace("/opt/app/.venv/bin/python", sys.executable)
    unit = tmp_path / SERVICE.name
    unit.write_text(text.replace("/opt/app", str(tmp_path)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@NEEDS_REDIS
def test_redis_takes_its_file() -> None:
    """It starts with these settings, at another address."""
    text = (SNIPPETS / "redis.conf").read_text()
    assert "\nbind 10.0.0.5\n" in text
    config = text.replace("10.0.0.5", "127.0.0.1")
    with redis_server(config=config) as server:
        for name, value in (
            ("appendfsync", "always"),
            ("maxmemory-policy", "noeviction"),
        ):
            answer = server.command("CONFIG", "GET", name)
            assert answer.split() == [
                b"*2",
                b"$%d" % len(name),
                name.encode(),
                b"$%d" % len(value),
                value.encode(),
            ]


def test_the_objects_of_kubernetes_fit() -> None:
    """Labels and ports agree with each other and the image; there is time to end."""
    yaml = pytest.importorskip("yaml")
    text = (SNIPPETS / "kubernetes.yaml").read_text()
    deployment, balanced = yaml.safe_load_all(text)
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    assert (balanced["apiVersion"], balanced["kind"]) == ("v1", "Service")
    template: dict[str, Any] = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert balanced["spec"]["selector"] == labels
    [container] = template["spec"]["containers"]
    ports = {each["containerPort"] for each in container["ports"]}
    ports |= {each["targetPort"] for each in balanced["spec"]["ports"]}
    ports |= {
        container[f"{kind}Probe"]["httpGet"]["port"]
        for kind in ("readiness", "liveness")
    }
    assert ports == {port_of("Dockerfile")}
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = pause + float(service()["Service"]["TimeoutStopSec"])
    assert template["spec"]["terminationGracePeriodSeconds"] > needed
