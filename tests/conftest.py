"""What every test runs under: one CPU device, no rank promotion, no network but loopback.

Nothing here imports jax, so that a test of light modules stays light. The settings are
environment variables, which subprocesses inherit.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import settings

from pgv_jax.parts import MissingPart
from tests.compiled import FUSED, QUICK, SHIPPED, environ_for, folder_of_programs, tidy

# Before anything imports jax: it reads these once. Set, not defaulted: a test never
# depends on the shell that it is started from.
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "XLA_FLAGS": QUICK,
    # Programs are kept, small ones too: most of what a short training costs is compiling.
    "JAX_COMPILATION_CACHE_DIR": str(folder_of_programs()),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "agg",
    # Workers share the cores; OpenMP threads that wait for each other by spinning do not.
    "OMP_NUM_THREADS": "1",
}

# A shell that starts the tests in the background has Ctrl-C ignored, nohup a hang-up, and children
# inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The same examples on every run, and no time limit on one: a slow machine is not a failure.
settings.register_profile("law", deadline=None, derandomize=True, database=None)
settings.load_profile("law")

LOOPBACK = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"}

CORE_ALONE = os.environ.get("PGV_TEST_CORE") == "1"
"""Whether only the package's core is installed, as `make test-core` has it."""
PARTS = {"tasks": "textworld", "report": "matplotlib", "hf": "transformers", "openai": "openai"}
"""A package of each part that the mark ``part`` may name."""

RunPython = Callable[..., subprocess.CompletedProcess[str]]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Ctrl-C and SIGTERM end the whole run, also where a command under test is interrupted by them.

    Commands take these signals only where nobody else does; see ``own_signals``.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        session.shouldstop = signal.Signals(number).name
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if not hasattr(session.config, "workerinput"):  # the workers' parent, or a run without any
        tidy(folder_of_programs())


@contextmanager
def _skipped_without_its_part() -> Iterator[None]:
    """With the core alone, what needs a missing part is skipped, and its sentence is the reason."""
    try:
        yield
    except (MissingPart, pytest.Collector.CollectError) as error:
        # The latter: a module of tests that itself imports a package of a part, or of `dev`.
        cause = error.__cause__
        if not CORE_ALONE or not isinstance(cause or error, MissingPart | ModuleNotFoundError):
            raise
        pytest.skip(str(cause or error), allow_module_level=True)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a module that cannot be imported without a part."""
    inside = collector.collect

    def collect() -> list[pytest.Item | pytest.Collector]:
        with _skipped_without_its_part():
            return list(inside())

    collector.collect = collect  # type: ignore[method-assign]
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Skip a test whose mark ``part`` names a missing one, or whose fixtures need one."""
    mark = item.get_closest_marker("part")
    if CORE_ALONE and mark and find_spec(PARTS[mark.args[0]]) is None:
        pytest.skip(f"needs the part {mark.args[0]}")
    with _skipped_without_its_part():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Skip a test that meets a missing part."""
    with _skipped_without_its_part():
        return (yield)


@pytest.fixture(scope="session")
def toy_critic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published critic with random parameters (``tests/critic/toy.py``); change a copy."""
    from pgv_jax.critic import artifact
    from tests.critic.toy import manifest, params

    return artifact.save(tmp_path_factory.mktemp("toy") / "artifact", params(), manifest())


@pytest.fixture
def as_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile what the test jits with XLA's own optimisations, as users' programs are."""
    import jax

    monkeypatch.setattr(jax, "jit", partial(jax.jit, compiler_options=SHIPPED))


@pytest.fixture
def fused_as_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fuse as users' programs do, so that the same sums in another program round alike."""
    import jax

    monkeypatch.setattr(jax, "jit", partial(jax.jit, compiler_options=FUSED))


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Let what is tested in this process have SIGINT and SIGTERM, as in a process of its own."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a socket connect to this machine only."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(sock: socket.socket, address: object) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            assert isinstance(address, tuple)
            if address[0] not in LOOPBACK:
                raise AssertionError(f"A test tried to reach {address[0]}.")

    def checked_connect(sock: socket.socket, address: object) -> None:
        check(sock, address)
        connect(sock, address)

    def checked_connect_ex(sock: socket.socket, address: object) -> int:
        check(sock, address)
        return connect_ex(sock, address)

    monkeypatch.setattr(socket.socket, "connect", checked_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", checked_connect_ex)


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Run code in a fresh interpreter, on ``devices`` forced host devices; it must end well.

    ``run_python(code, devices=8, args=(...))`` returns the completed process. For laws about
    several devices, about what an import loads, and about a process that is killed.
    """
    root = Path(__file__).parents[1]

    def run(
        code: str, *, devices: int = 1, args: tuple[str, ...] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        search = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, "-c", code, *args],
            env=os.environ | environ_for(devices) | {"PYTHONPATH": search},
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run
