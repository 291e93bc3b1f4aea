"""The call among threads of one process: who comes, who goes, and what is said of it."""

import json
import queue
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from pgv_jax.errors import PgvError
from pgv_jax.learner import roll_call
from pgv_jax.learner.line import open_door
from pgv_jax.learner.roll_call import Guest, Host, RollCall

LONG, SHORT = 60.0, 0.4
FACTS = {"version": "1"}


def free_port() -> int:
    with open_door(0) as door:
        return door.getsockname()[1]


class Room:
    """Opens calls in threads, collects what they would have ended their process with."""

    def __init__(self) -> None:
        self.port = free_port()
        self.threads = ThreadPoolExecutor(8)
        self.calls: list[RollCall] = []
        self.lost: dict[int, queue.Queue[str]] = {i: queue.Queue() for i in range(4)}

    def host(self, count: int, timeout: float = LONG, start: float = LONG) -> Future[Host]:
        return self._come(lambda: Host(self.port, count, FACTS, timeout, start, self.lost[0].put))

    def guest(
        self,
        index: int,
        count: int,
        timeout: float = LONG,
        start: float = LONG,
        facts: dict[str, str] = FACTS,
    ) -> Future[Guest]:
        address = ("127.0.0.1", self.port)
        return self._come(
            lambda: Guest(address, index, count, facts, timeout, start, self.lost[index].put)
        )

    def all(self, count: int, timeout: float = LONG) -> list[RollCall]:
        coming: list[Future[Any]] = [self.host(count, timeout)]
        coming += [self.guest(i, count, timeout) for i in range(1, count)]
        return [call.result(LONG) for call in coming]

    def _come(self, make: Callable[[], Any]) -> Future[Any]:
        def come() -> RollCall:
            call = make()
            self.calls.append(call)
            return call

        return self.threads.submit(come)

    def both(self, calls: list[RollCall], do: Callable[[RollCall], Any]) -> list[Any]:
        return list(self.threads.map(do, calls))


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch):
    # Here nobody's process ends when it is lost, and so nobody hangs up for the others.
    monkeypatch.setattr(roll_call, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(roll_call, "WAKE_SECONDS", 0.1)
    room = Room()
    yield room
    room.both(room.calls, lambda call: call.close())
    room.threads.shutdown()


def stranger(port: int, **hello: Any) -> socket.socket:
    """A connection that says hello, and then nothing."""
    end = time.monotonic() + LONG
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            assert time.monotonic() < end
    sock.sendall(json.dumps(hello).encode() + b"\n")
    return sock


def test_everyone_gets_all_values_in_order_round_after_round(room: Room):
    calls = room.all(4)
    for number in range(3):
        answers = room.both(calls, lambda call, n=number: call.gather([call.index, n]))
        assert answers == [[[i, number] for i in range(4)]] * 4


def test_a_host_may_be_ahead_of_its_guests(room: Room):
    host, guest = room.all(2)
    ahead = room.threads.submit(lambda: [host.gather(n) for n in (10, 11)])
    assert [guest.gather(n) for n in (0, 1)] == [[10, 0], [11, 1]]
    assert ahead.result(LONG) == [[10, 0], [11, 1]]


def test_after_the_last_round_all_may_go_unnoticed(room: Room):
    calls = room.all(3)
    room.both(calls, lambda call: call.gather("end", last=True))
    room.both(calls, lambda call: call.close())
    assert all(said.empty() for said in room.lost.values())
    room.calls.clear()


def test_a_guest_whose_line_closes_is_lost_to_all(room: Room):
    coming = [room.host(3), room.guest(1, 3)]
    killed = stranger(room.port, hello=2, host="h", facts=FACTS)
    [call.result(LONG) for call in coming]
    killed.close()
    words = "Process 2 of 3 on h is gone: its connection closed without a word."
    assert room.lost[0].get(timeout=LONG) == words
    assert room.lost[1].get(timeout=LONG) == words


def test_a_host_whose_line_closes_is_lost(room: Room):
    with open_door(room.port) as door:
        coming = room.guest(1, 2)
        sock, _ = door.accept()
        sock.sendall(b'{"go": true}\n')
        coming.result(LONG)
        sock.close()
        said = room.lost[1].get(timeout=LONG)
        assert said.startswith("Process 0 of 2 (the coordinator, 127.0.0.1) is gone")


def test_a_guest_that_is_silent_is_lost_after_the_time_out(room: Room):
    coming = room.host(2, timeout=SHORT)
    with stranger(room.port, hello=1, host="h", facts=FACTS):
        coming.result(LONG)
        said = room.lost[0].get(timeout=LONG)
    assert said == "Process 1 of 2 on h has not answered for 0.4 s."


def test_a_host_that_is_silent_is_lost_after_the_time_out(room: Room):
    with open_door(room.port) as door:
        coming = room.guest(1, 2, timeout=SHORT)
        sock, _ = door.accept()
        with sock:
            sock.sendall(b'{"go": true}\n')
            coming.result(LONG)
            said = room.lost[1].get(timeout=LONG)
    assert said == "Process 0 of 2 (the coordinator, 127.0.0.1) has not answered for 0.4 s."


@pytest.mark.parametrize("failing", [0, 1])
def test_why_one_fails_is_told_to_the_others(room: Room, failing: int):
    calls = room.all(3)
    calls[failing].fail("The disk is full.")
    for index in {0, 1, 2} - {failing}:
        said = room.lost[index].get(timeout=LONG)
        assert said.startswith(f"Process {failing} of 3") and said.endswith("The disk is full.")
    assert room.lost[failing].empty()


def test_the_missing_are_named_to_those_who_came(room: Room):
    host = room.host(4, start=3.0)
    with stranger(room.port, hello=2, host="h", facts=FACTS) as came:
        with pytest.raises(PgvError) as refusal:
            host.result(LONG)
        assert str(refusal.value).startswith("Of 4 processes, 1, 3 did not come within 3 s")
        assert json.loads(came.makefile().readline()) == {"refused": str(refusal.value)}


def test_nobody_to_reach(room: Room):
    with pytest.raises(PgvError, match="Process 1 of 2 could not reach process 0 at"):
        room.guest(1, 2, start=SHORT).result(LONG)


def test_a_host_that_does_not_speak_is_not_waited_for(room: Room):
    with open_door(room.port), pytest.raises(PgvError, match="did not say within"):
        room.guest(1, 2, start=SHORT).result(LONG)


@pytest.mark.parametrize(
    ("index", "facts", "words"),
    [
        (1, {"version": "2"}, "has version 2, but process 0 has 1"),
        (3, FACTS, "has a number that is not between 1 and 2"),
        (2, FACTS, "came twice; the first is on h"),
    ],
)
def test_who_does_not_fit_is_refused_and_the_rest_go_on(
    room: Room, index: int, facts: dict[str, str], words: str
):
    host = room.host(3)
    with stranger(room.port, hello=2, host="h", facts=FACTS):
        refused = room.guest(index, 3, facts=facts)
        with pytest.raises(PgvError, match=words):
            refused.result(LONG)
        room.guest(1, 3).result(LONG)
        host.result(LONG)


def test_nonsense_on_the_port_harms_nobody(room: Room):
    host = room.host(2)
    lines = [b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"hello": [1]}\n', b'{"round": 0}\n']
    socks = [stranger(room.port, odd=True) for _ in lines]
    for sock, line in zip(socks, lines, strict=True):
        sock.sendall(line)
    guest = room.guest(1, 2).result(LONG)
    answer = room.threads.submit(host.result(LONG).gather, "a")
    assert guest.gather("b") == ["a", "b"] == answer.result(LONG)
    for sock in socks:
        sock.close()
    assert room.lost[0].empty()


def test_a_port_that_is_taken_is_named():
    with open_door(0) as door:
        port = door.getsockname()[1]
        with pytest.raises(PgvError, match=f"Port {port} of this machine cannot be opened"):
            open_door(port)
