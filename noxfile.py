# /// script
# dependencies = ["nox[uv]>=2026.10"]
# ///
"""Everything that is checked.

`nox` runs lint, types and the tests that are quick, on the one Python that runs nox.
`nox -s matrix` runs all the rest, on every Python. `nox -s NAME` runs one session.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "uv"
# A Python that is not here is an error, never a quiet skip, and never a download that
# the user did not ask for.
nox.options.error_on_missing_interpreters = True
nox.options.download_python = "never"
os.environ["UV_PYTHON_DOWNLOADS"] = "never"
nox.options.sessions = ["lint", "types", "quick"]
# Where more than one session runs at a time, each session may be one of them.
nox.options.allow_parallel = True
# Each worker and each server under test is a process of its own, and would compile all
# that it imports where this is set: seconds each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Every session installs the wheel: tests/conftest.py then refuses the working tree.
os.environ["ANYWS_INSTALLED"] = "1"

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
TEST = nox.project.dependency_groups(PYPROJECT, "test")
FRAMEWORKS = nox.project.dependency_groups(PYPROJECT, "frameworks")
TYPING = nox.project.dependency_groups(PYPROJECT, "typing")
SERVERS = nox.project.dependency_groups(PYPROJECT, "servers")
LINT = nox.project.dependency_groups(PYPROJECT, "lint")
BUILD = nox.project.dependency_groups(PYPROJECT, "build")
DOCS = nox.project.dependency_groups(PYPROJECT, "docs")
# The variable that tells the matrix on which Python the session `quick` runs.
TESTED = "ANYWS_TESTED_PYTHON"
# With every extra.
PACKAGE = ".[fastapi,hypercorn,msgspec,redis,socks,trio,uvicorn,uvloop]"


def put_pyenv_first() -> None:
    """Put the Pythons that pyenv keeps on PATH, before its shims.

    A shim answers only for the versions that are switched on, and fails for the others.
    """
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for wanted in PYTHONS:
        patches = [
            (int(match[1]), path / "bin")
            for path in root.glob(f"{wanted}.*")
            if (match := re.fullmatch(rf"{re.escape(wanted)}\.(\d+)", path.name))
        ]
        if patches:
            os.environ["PATH"] = f"{max(patches)[1]}{os.pathsep}{os.environ['PATH']}"


put_pyenv_first()


@nox.session
def lint(session: nox.Session) -> None:
    """Check format and style."""
    session.install(*LINT)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session(python=PYTHONS[-1], tags=["matrix"])
def docs(session: nox.Session) -> None:
    """Build the documentation into `site`, and check its links; needs no network."""
    session.install(PACKAGE, *DOCS)
    session.run("zensical", "build", "--clean", "--strict")
    session.run("python", "docs/check_site.py", "site")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, and that the public interface is completely typed."""
    session.install(PACKAGE, *TYPING)
    session.run("mypy")
    # The application that uses all of `anyws.fastapi`; strict by a comment in it.
    session.run("pyright", "examples/fastapi_typed.py")
    # Outside the checkout, so that the installed package is what is looked at.
    session.chdir(session.create_tmp())
    session.run("pyright", "--verifytypes", "anyws", "--ignoreexternal")


# The newest Python first: with two sessions at a time, the longest begins.
@nox.session(python=PYTHONS[::-1], tags=["matrix"])
def tests(session: nox.Session) -> None:
    """Run the tests against the installed wheel, on asyncio, uvloop and trio."""
    newest = session.python == PYTHONS[-1]
    if not newest and session.python == os.environ.get(TESTED):
        session.skip("the session `quick` runs the same tests on this Python, and more")
    session.install(PACKAGE, *TEST, *(FRAMEWORKS if newest else ()))
    session.run("python", "--version")
    # `pytest`, not `python -m pytest`: that would import the working tree.
    left_out = () if newest else (*without(SERVER_FILES), *FRAMES)
    if session.posargs:
        session.run("pytest", *left_out, *session.posargs)
        return
    if not newest:
        session.run("pytest", *parallel(session), *QUICK, *left_out)
        return
    measure_coverage(session, *parallel(session), *TOGETHER, *without(SERVER_FILES))


@nox.session(python=PYTHONS[0], tags=["matrix"])
def build(session: nox.Session) -> None:
    """Build wheel and sdist, check what is in them, run the README's code by them."""
    # Where they are left: `nox -s build -- dist`.
    dist = Path(*session.posargs or (session.create_tmp(),)).resolve()
    for old in dist.glob("anyws*"):
        old.unlink()
    session.run("uv", "build", "--quiet", "--out-dir", str(dist), external=True)
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        check_contents(
            session,
            archive.namelist(),
            allowed=r"anyws/.+\.py|anyws/_hub/anyws\.js|anyws/py\.typed"
            r"|anyws_websockets-[^/]+\.dist-info/.+",
            required=("anyws/__init__.py", "anyws/py.typed", "licenses/LICENSE"),
        )
    with tarfile.open(sdist) as archive:
        check_contents(
            session,
            [name.partition("/")[2] for name in archive.getnames()],
            allowed=r"(anyws|benchmarks|docs|examples|tests)/.+|[A-Z-]+|[A-Z]+\.md"
            r"|CITATION\.cff|noxfile\.py|pyproject\.toml|zensical\.toml|\.gitignore",
            required=(
                *("anyws/py.typed", "docs/index.md", "docs/images/chat.png"),
                *("examples/chat.py", "examples/chat.html", "tests/conftest.py"),
                *("CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md"),
                *("SECURITY.md", "zensical.toml"),
            ),
        )
    session.install(str(wheel))
    with session.chdir(dist):
        says = "import anyws; print(anyws.__file__)"
        session.run("python", "-W", "error", "-c", says)
    session.install(f"{wheel}[fastapi,trio]", "pytest>=9.2")
    session.run("pytest", "tests/docs/test_readme.py")
    session.install(*BUILD)
    session.run("twine", "check", "--strict", str(wheel), str(sdist))


def check_contents(
    session: nox.Session, names: list[str], allowed: str, required: tuple[str, ...]
) -> None:
    """Fail when an archive holds what it should not, or lacks what it should hold."""
    extra = [name for name in names if not re.fullmatch(allowed, name)]
    missing = [end for end in required if not any(n.endswith(end) for n in names)]
    if extra or missing:
        session.error(f"not meant to be in it: {extra}; missing: {missing}")
    session.log(f"{len(names)} files, as they should be")


# What is tested, and what the tests import.
CONFORMANCE_PROJECTS = {"starlette": "starlette==1.10.0", "fastapi": "fastapi==0.165.0"}
CONFORMANCE_NEEDS = (
    *CONFORMANCE_PROJECTS.values(),
    "httpx>=0.28,<1",
    "httpx2[zstd]>=2",  # two tests compare the headers, zstd among them
    "inline-snapshot>=0.21",
    "opentelemetry-sdk>=1.44",
    "opentelemetry-exporter-otlp-proto-http>=1.44",
    "python-multipart>=0.0.18",
    "pytest>=9,<9.2",  # FastAPI's own bound
    "pytest-timeout>=2.4",  # FastAPI's configuration sets its limit
    "pytest-xdist>=3",  # the marker xdist_group
)
UVICORN = "uvicorn==0.54.0"
UVICORN_NEEDS = (
    "httptools>=0.6",  # uvicorn's other HTTP protocol
    "httpx2>=2",
    "pytest>=9.1.1",
    "pytest-xdist>=3.8",
    "trustme>=1.2",
    "wsproto>=1.3",
)
CONFORMANCE = {
    "starlette": (
        "tests/test_applications.py",
        "tests/test_authentication.py",
        "tests/test_endpoints.py",
        "tests/test_exceptions.py",
        "tests/test_responses.py",
        "tests/test_routing.py",
        "tests/test_testclient.py",
        "tests/test_websockets.py",
        "tests/middleware/test_base.py",
        "tests/middleware/test_errors.py",
        "tests/middleware/test_opentelemetry.py",
    ),
    # Every file that opens a WebSocket, but for test_telemetry/test_integrations.py and
    # test_native_integrations.py: they test other products (Logfire, Sentry), in
    # processes of their own, where the class would be Starlette's again.
    "fastapi": (
        "tests/test_async_dependency_cleanup.py",
        "tests/test_dependency_after_yield_websockets.py",
        "tests/test_dependency_concurrency.py",
        "tests/test_dependency_yield_scope_websockets.py",
        "tests/test_frontend.py",
        "tests/test_http_connection_injection.py",
        "tests/test_multiple_parameter_models.py",
        "tests/test_parameter_extraction.py",
        "tests/test_path_alias_choices.py",
        "tests/test_query_optional_models.py",
        "tests/test_request_body_limits.py",
        "tests/test_route_scope.py",
        "tests/test_router_include_context.py",
        "tests/test_security_http_base_optional.py",
        "tests/test_security_http_bearer.py",
        "tests/test_security_websockets.py",
        "tests/test_telemetry/test_data.py",
        "tests/test_telemetry/test_tracer.py",
        "tests/test_telemetry/test_websockets.py",
        "tests/test_tutorial/test_testing/test_tutorial002.py",
        "tests/test_tutorial/test_websockets",
        "tests/test_validation_error_context.py",
        "tests/test_ws_dependencies.py",
        "tests/test_ws_router.py",
    ),
}


@nox.session(python=PYTHONS[-1], tags=["matrix"])
@nox.parametrize("project", list(CONFORMANCE), ids=list(CONFORMANCE))
def conformance(session: nox.Session, project: str) -> None:
    """Run the tests of Starlette and FastAPI with our class in the place of theirs.

    Those of FastAPI run a second time with our router in the place of theirs.
    """
    session.install("pip", PACKAGE, *CONFORMANCE_NEEDS)
    plugin = Path("tests/whole").resolve()
    session.chdir(unpack_tests(session, CONFORMANCE_PROJECTS[project]))
    runs: list[tuple[str, ...]] = [()]
    if project == "fastapi":
        runs.append(("--guarded-router", "-k", "websocket or ws"))
    for router in runs:
        session.run(
            *("pytest", "-q", "-p", "conformance_plugin", *router, *session.posargs),
            *CONFORMANCE[project],
            env={"PYTHONPATH": str(plugin), "PYTHONDONTWRITEBYTECODE": "1"},
        )


@nox.session(python=PYTHONS[-1], tags=["matrix"])
def uvicorn(session: nox.Session) -> None:
    """Run uvicorn's own tests of WebSockets with our protocol class."""
    session.install("pip", PACKAGE, UVICORN, *UVICORN_NEEDS)
    plugin = Path("tests/whole").resolve()
    session.chdir(unpack_tests(session, UVICORN))
    session.run(
        # In place of uvicorn's eight processes, whatever the machine.
        *("pytest", "-q", "-o", "addopts=", "-n", "2", "-p", "uvicorn_plugin"),
        *("tests/protocols/test_websocket.py", *session.posargs),
        env={"PYTHONPATH": str(plugin), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def unpack_tests(session: nox.Session, requirement: str) -> Path:
    """Fetch a project's sdist; return a folder with its tests, and without its code."""
    folder = Path(session.create_tmp()).resolve()
    root = folder / requirement.replace("==", "-")
    if not root.is_dir():
        session.run(
            *("python", "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--no-binary", ":all:", "--dest", str(folder), requirement),
        )
        with tarfile.open(f"{root}.tar.gz") as archive:
            kept = [
                member
                for member in archive.getmembers()
                if re.match(r"[^/]+/(tests/|docs_src/|pyproject\.toml$)", member.name)
            ]
            archive.extractall(folder, kept, filter="data")
    return root


# What the newest Python alone runs, for the minutes it takes: real servers, of which
# the oldest runs those of stock Hypercorn with the oldest dependencies; and the law
# over frames as well as over ASGI events, at either end.
ANY_SERVER = ("tests/hypercorn/test_portability.py", "tests/testing/test_dialects.py")
ENGINE_FILES = (
    *sorted(str(path) for path in Path("tests/hypercorn").glob("test_engine_*.py")),
    *ANY_SERVER,
)
SERVER_FILES = (
    "tests/hypercorn",
    "tests/hub/test_postgres.py",
    "tests/hub/test_thousand_members.py",
    "tests/redis/test_outages.py",
    "tests/redis/test_two_servers.py",
    "tests/client/test_contract.py",
    "tests/client/test_leaks.py",
    "tests/client/test_other_servers.py",
    "tests/fastapi/test_real_servers.py",
    "tests/server/test_hosting.py",
    "tests/testing/test_dialects.py",
    "tests/whole/test_browser.py",
    "tests/whole/test_browser_pages.py",
    "tests/whole/test_examples.py",
)
FRAMES = ("-k", "not wired and not eager and not dialled")
QUICK = ("-m", "not slow and not alone")
TOGETHER = ("-m", "not alone")


def parallel(session: nox.Session) -> tuple[str, ...]:
    """Return the arguments that run two tests per core at a time, eight at most.

    More than there are cores, as tests wait for much of their time; half of them are
    another session's where two run at a time. Neighbours stay together, so that few
    modules start their servers more than once.
    """
    workers = min(2 * (os.cpu_count() or 1), 8)
    count = workers // 2 + 1 if session.parallel else workers
    return "-n", str(count), "--dist=worksteal"


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that are quick, on the Python that runs nox."""
    session.install(PACKAGE, *TEST)
    session.run("python", "--version")
    chosen = (*QUICK, *without(SERVER_FILES))
    session.run("pytest", *parallel(session), *chosen, *session.posargs)


@nox.session(venv_backend="none")
def matrix(session: nox.Session) -> None:
    """Run all the rest, on every Python, two sessions at a time.

    Two, as each of them waits now and then, and some have only one process. What a
    session prints is shown when it has ended.
    """
    missing = [version for version in PYTHONS if not shutil.which(f"python{version}")]
    if missing:
        session.error(
            f"not found: {', '.join(f'python{version}' for version in missing)}. "
            "Install what is missing, so that it is on PATH or kept by pyenv "
            f"(`pyenv install {' '.join(missing)}`), and run this again"
        )
    # By this Python, as nox need not be on PATH.
    arguments = ("-j", "2", "-t", "matrix", *session.posargs)
    env = {TESTED: f"{sys.version_info.major}.{sys.version_info.minor}"}
    session.run(sys.executable, "-m", "nox", *arguments, external=True, env=env)


@nox.session(python=PYTHONS[0], tags=["matrix"])
def minimums(session: nox.Session) -> None:
    """Run the tests on the oldest Python with the oldest versions that are promised."""
    session.install("--resolution=lowest-direct", PACKAGE, *TEST)
    # The class of the oldest uvicorn writes two lengths into a denial response.
    left_out = (*ENGINE_FILES, "tests/fastapi/test_real_servers.py")
    quick = (*QUICK, *without(left_out), *FRAMES)
    session.run("pytest", *parallel(session), *quick, *session.posargs)


@nox.session(python=PYTHONS[0], tags=["matrix"])
def examples(session: nox.Session) -> None:
    """Run the examples with what a user has who followed the README."""
    # pytest drives them.
    session.install(".[hypercorn,trio]", "pytest>=9.2")
    session.run("pytest", "tests/whole/test_examples.py", *session.posargs)


@nox.session(python=PYTHONS[-1], tags=["matrix"])
def live(session: nox.Session) -> None:
    """Run the tests that ask real servers."""
    session.install(PACKAGE, *TEST, *FRAMEWORKS)
    files = (*SERVER_FILES, *session.posargs)
    session.run("pytest", *parallel(session), *TOGETHER, *files)


@nox.session(python=PYTHONS[-1], allow_parallel=False, tags=["matrix"])
def alone(session: nox.Session) -> None:
    """Run the tests that count seconds, with nothing beside them."""
    session.install(PACKAGE, *TEST, *FRAMEWORKS)
    session.run("pytest", "-m", "alone", *session.posargs)


def without(files: tuple[str, ...]) -> list[str]:
    """Return the arguments that leave files out."""
    return [f"--ignore={file}" for file in files]


def measure_coverage(session: nox.Session, *arguments: str) -> None:
    """Run tests, and hold how many lines they reach, subprocesses included."""
    session.run("coverage", "erase")
    # By its path, as `-m pytest` would import the working tree. By `sys.monitoring`,
    # which costs nearly nothing; it counts branches from Python 3.14 on.
    measured = ("coverage", "run", f"{session.bin}/pytest", *arguments)
    session.run(*measured, env={"COVERAGE_CORE": "sysmon"})
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(python=PYTHONS[-1])
def servers(session: nox.Session) -> None:
    """Ask every server what holds there, and write that into the docs."""
    session.install(PACKAGE, *TEST, *SERVERS)
    session.run("pytest", *ANY_SERVER, *session.posargs, env={"WRITE_SERVERS": "1"})


if __name__ == "__main__":
    nox.main()
