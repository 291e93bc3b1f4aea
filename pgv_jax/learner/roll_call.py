"""Who is here: one TCP line from every process of a run to process 0, beside JAX's own service.

JAX's coordination service notices a dead process after a heartbeat's time-out and then aborts the
others from C++, and a collective may block for ever. A line of our own tells at once (a killed
process closes it), says which process and why, names those that never came, and carries the small
agreements between hosts: all stop at the same step, one prepares the data while the others wait.

Process 0 is the host of the call, the others are guests. Messages are JSON objects, one a line:

=========================  ==========================================================
``{"hello": i, ...}``      a guest comes, with what must be the same in all processes
``{"refused": why}``       it may not stay
``{"go": true}``           all have come
``{"beat": true}``         alive; both ways
``{"round": r, ...}``      a guest's value of an agreement; the host answers with all of them
``{"failed": why}``        a guest ends with an error
``{"lost": why}``          a process is gone or has failed: everyone leaves
=========================  ==========================================================
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from pgv_jax.errors import PgvError
from pgv_jax.learner.line import Line, open_door

WAKE_SECONDS = 0.5
"""How long anyone waits before it looks up: retries, beats, closing."""
LINGER_SECONDS = 2.0


class RollCall(ABC):
    """This process's place in the call. ``facts`` must be the same in all processes.

    ``lost(sentence)`` is called, in a thread, when the run cannot go on; it ends the process.
    """

    def __init__(
        self,
        index: int,
        count: int,
        facts: Mapping[str, str],
        timeout: float,
        lost: Callable[[str], None],
    ):
        self.index, self.count, self.timeout = index, count, timeout
        self._facts, self._lost = dict(facts), lost
        self._interval = min(5.0, timeout / 5)
        self._selector = selectors.DefaultSelector()
        self._changed = threading.Condition()
        self._answers: dict[int, list[Any]] = {}
        self._round = 0
        self._over = False
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="roll call", daemon=True)

    def gather(self, value: Any, last: bool = False) -> list[Any]:
        """Return every process's ``value`` (JSON), in the order of processes; waits for them all.

        All processes must make the same calls in the same order. After the ``last`` one, the
        others may go.
        """
        number, self._round = self._round, self._round + 1
        self._say_round(number, value, last)
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers)
            return self._answers.pop(number)

    @abstractmethod
    def fail(self, why: str) -> None:
        """Tell the others that this process ends with an error; they leave."""

    def close(self) -> None:
        """Hang up. Once is enough, twice no harm."""
        self._closed = True
        if self._thread.is_alive():
            self._thread.join()
        for key in list((self._selector.get_map() or {}).values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def name(self, index: int, host: str = "") -> str:
        """``Process 1 of 4 on HOST``; processes count from 0."""
        return f"Process {index} of {self.count}" + (f" on {host}" if host else "")

    def _watch(self) -> None:
        beaten = 0.0
        while not self._closed:
            asked = time.monotonic()
            self._hear(min(WAKE_SECONDS, self._interval / 2))
            now = time.monotonic()
            if now - asked > self.timeout / 2:
                self._forgive(now)  # this process itself was stopped: what it missed is no sign
            if now - beaten >= self._interval:
                beaten = now
                self._beat()
            if not self._over:
                self._look(now)

    def _silence(self, who: str) -> str:
        return f"{who} has not answered for {self.timeout:g} s."

    def _ready(self, seconds: float) -> list[Any]:
        return [key.data for key, _ in self._selector.select(seconds)]

    @abstractmethod
    def _say_round(self, number: int, value: Any, last: bool) -> None: ...

    @abstractmethod
    def _hear(self, seconds: float) -> None: ...

    @abstractmethod
    def _beat(self) -> None: ...

    @abstractmethod
    def _look(self, now: float) -> None: ...

    @abstractmethod
    def _forgive(self, now: float) -> None: ...


class Host(RollCall):
    """Process 0's side: waits until all have come, then watches them."""

    def __init__(
        self,
        port: int,
        count: int,
        facts: Mapping[str, str],
        timeout: float,
        start_timeout: float,
        lost: Callable[[str], None],
    ):
        """Raises PgvError when the port is taken or not everyone comes within ``start_timeout``."""
        super().__init__(0, count, facts, timeout, lost)
        self._guests: dict[int, Line] = {}
        self._rounds: dict[int, dict[int, Any]] = {}
        self._refused = ""
        self._door = open_door(port, count)
        self.port = self._door.getsockname()[1]
        self._selector.register(self._door, selectors.EVENT_READ, None)
        self._assemble(start_timeout)
        self._thread.start()

    def _assemble(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while len(self._guests) < self.count - 1:
            if time.monotonic() > end:
                missing = [str(i) for i in range(1, self.count) if i not in self._guests]
                why = (
                    f"Of {self.count} processes, {', '.join(missing)} did not come within "
                    f"{seconds:g} s (port {self.port} of process 0).{self._refused}"
                )
                self._tell(refused=why)
                self.close()
                raise PgvError(why)
            self._hear(WAKE_SECONDS)
        self._forgive(time.monotonic())
        self._tell(go=True)

    def close(self) -> None:
        """Hang up, once the guests have had a moment to read what was said last."""
        with self._changed:
            if self._thread.is_alive():
                self._changed.wait_for(lambda: not self._guests, LINGER_SECONDS)
        super().close()

    def fail(self, why: str) -> None:
        """Tell the guests that process 0 ends with an error; they leave."""
        self._over = True
        self._tell(lost=f"{self.name(0)} failed: {why}")
        self.close()

    def _tell(self, **message: Any) -> None:
        for line in list(self._guests.values()):
            line.send(**message)

    def _say_round(self, number: int, value: Any, last: bool) -> None:
        self._put(number, 0, value, last)

    def _put(self, number: int, index: int, value: Any, last: bool) -> None:
        with self._changed:
            values = self._rounds.setdefault(number, {})
            values[index] = value
            if len(values) < self.count:
                return
            answer = [self._rounds[number][i] for i in range(self.count)]
            del self._rounds[number]
            self._over = self._over or last
            self._tell(round=number, values=answer, last=last)
            self._answers[number] = answer
            self._changed.notify_all()

    def _hear(self, seconds: float) -> None:
        for line in self._ready(seconds):
            if line is None:
                with contextlib.suppress(OSError):
                    sock, _ = self._door.accept()
                    line = Line(sock, self.timeout)
                    self._selector.register(sock, selectors.EVENT_READ, line)
                continue
            messages = line.receive()
            for message in messages or ():
                self._take(line, message)
            if messages is None:
                self._drop(line)

    def _take(self, line: Line, message: dict[str, Any]) -> None:
        if "hello" in message:
            self._welcome(line, message)
        elif line.index is None:
            return
        elif "round" in message:
            self._put(message["round"], line.index, message["value"], message["last"])
        elif "failed" in message and not self._over:
            self._end(f"{self.name(line.index, line.host)} failed: {message['failed']}")

    def _welcome(self, line: Line, message: dict[str, Any]) -> None:
        index, host, theirs = message["hello"], message.get("host"), message.get("facts")
        if not (isinstance(index, int) and isinstance(host, str) and isinstance(theirs, dict)):
            return
        why = ""
        for fact, mine in self._facts.items():
            if theirs.get(fact) != mine:
                why = f"has {fact} {theirs.get(fact)}, but process 0 has {mine}"
        if not why and not 0 < index < self.count:
            why = f"has a number that is not between 1 and {self.count - 1}"
        if not why and index in self._guests:
            why = f"came twice; the first is on {self._guests[index].host}"
        if why:
            self._refused = f" {self.name(index, host)} {why}."
            line.send(refused=self._refused.strip())
        else:
            line.index, line.host = index, host
            self._guests[index] = line

    def _drop(self, line: Line) -> None:
        if line.sock.fileno() < 0:
            return  # while the loss of another one was told
        self._selector.unregister(line.sock)
        line.sock.close()
        if line.index is None or self._guests.get(line.index) is not line:
            return
        with self._changed:
            del self._guests[line.index]
            self._changed.notify_all()
        if self._thread.is_alive() and not self._over:
            self._end(
                f"{self.name(line.index, line.host)} is gone: its connection closed without a word."
            )

    def _end(self, sentence: str) -> None:
        self._over = True
        self._tell(lost=sentence)
        end = time.monotonic() + LINGER_SECONDS
        while self._guests and time.monotonic() < end:
            self._hear(WAKE_SECONDS)  # until they have read it and hung up
        self._lost(sentence)

    def _beat(self) -> None:
        self._tell(beat=True)

    def _look(self, now: float) -> None:
        for index, line in list(self._guests.items()):
            if now - line.heard > self.timeout:
                self._end(self._silence(self.name(index, line.host)))
                return

    def _forgive(self, now: float) -> None:
        for line in self._guests.values():
            line.heard = now


class Guest(RollCall):
    """The side of every other process."""

    def __init__(
        self,
        address: tuple[str, int],
        index: int,
        count: int,
        facts: Mapping[str, str],
        timeout: float,
        start_timeout: float,
        lost: Callable[[str], None],
    ):
        """Raises PgvError when process 0 cannot be reached in time, or refuses this process."""
        super().__init__(index, count, facts, timeout, lost)
        self._address = address
        end = time.monotonic() + start_timeout
        self._line = Line(self._call(end, start_timeout), timeout)
        self._selector.register(self._line.sock, selectors.EVENT_READ, self._line)
        self._line.send(hello=index, host=socket.gethostname(), facts=self._facts)
        self._gone = False
        self._await_go(end, start_timeout)
        self._thread.start()

    def _call(self, end: float, seconds: float) -> socket.socket:
        host, port = self._address
        wait = 0.02
        while True:
            try:
                return socket.create_connection(self._address, timeout=5.0)
            except OSError as error:
                if time.monotonic() + wait > end:
                    reason = error.strerror or error
                    raise PgvError(
                        f"{self.name(self.index)} could not reach process 0 at {host}, port "
                        f"{port}, within {seconds:g} s ({reason}); is it running, and is "
                        "--coordinator right?"
                    ) from None
            time.sleep(wait)
            wait = min(wait * 2, WAKE_SECONDS)

    def _await_go(self, end: float, seconds: float) -> None:
        host, port = self._address
        # Process 0 started waiting at another moment than this one, and it is the one to say
        # who is missing: so a little longer than it may take.
        end += max(WAKE_SECONDS * 4, seconds / 10)
        why = f"{host}, port {port}, did not say within {seconds:g} s that all processes have come."
        while time.monotonic() < end:
            for line in self._ready(WAKE_SECONDS):
                messages = line.receive()
                if messages is None:
                    why = f"{host}, port {port}, hung up before all processes had come."
                    end = 0.0
                for message in messages or ():
                    if message.get("go"):
                        return
                    if "refused" in message:
                        why, end = message["refused"], 0.0
        self._line.sock.close()
        raise PgvError(why)

    def fail(self, why: str) -> None:
        """Tell process 0 that this process ends with an error; all leave."""
        self._over = True
        self._line.send(failed=why)
        self.close()

    def _say_round(self, number: int, value: Any, last: bool) -> None:
        self._line.send(round=number, value=value, last=last)

    def _hear(self, seconds: float) -> None:
        if self._gone:
            time.sleep(seconds)
            return
        for line in self._ready(seconds):
            messages = line.receive()
            for message in messages or ():
                self._take(message)
            if messages is None:
                self._gone = True
                if not self._over:
                    self._end(
                        f"{self.name(0)} (the coordinator, {self._address[0]}) is gone: "
                        "its connection closed without a word."
                    )

    def _take(self, message: dict[str, Any]) -> None:
        if "lost" in message and not self._over:
            self._end(message["lost"])
        elif "round" in message:
            with self._changed:
                self._over = self._over or message["last"]
                self._answers[message["round"]] = message["values"]
                self._changed.notify_all()

    def _end(self, sentence: str) -> None:
        self._over = True
        self._lost(sentence)

    def _beat(self) -> None:
        self._line.send(beat=True)

    def _look(self, now: float) -> None:
        if now - self._line.heard > self.timeout:
            self._end(self._silence(f"{self.name(0)} (the coordinator, {self._address[0]})"))

    def _forgive(self, now: float) -> None:
        self._line.heard = now
