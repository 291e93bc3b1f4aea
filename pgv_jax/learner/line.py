"""A TCP connection that carries JSON objects, one a line, and the port that takes such calls."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Any

from pgv_jax.errors import PgvError

LONGEST = 1 << 22
"""Bytes without an end of line after which the other side is no process of ours."""


def open_door(port: int, guests: int = 1) -> socket.socket:
    """Listen on a port of all of this machine's addresses; PgvError where it is taken."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=guests)
    except OSError as error:
        raise PgvError(
            f"Port {port} of this machine cannot be opened for the run's processes "
            f"({error.strerror or error}); name another port in --coordinator."
        ) from None


def own_address() -> str:
    """The address by which other machines reach this one; loopback where it has no way out."""
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with (
            contextlib.suppress(OSError),
            socket.socket(family, socket.SOCK_DGRAM) as probe,
        ):
            probe.connect((elsewhere, 9))  # sends nothing: only a route is looked up
            address = str(probe.getsockname()[0])
            return address if family is socket.AF_INET else f"[{address}]"
    return "127.0.0.1"


class Line:
    """One connection, and when it was last heard."""

    def __init__(self, sock: socket.socket, timeout: float):
        sock.settimeout(timeout)  # of a send into a full buffer; reads wait for readiness
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.index: int | None = None
        self.host = ""
        self.heard = time.monotonic()
        self._rest = b""
        self._sending = threading.Lock()

    def send(self, **message: Any) -> None:
        """Send a message; a line that is broken is for the reading side to notice."""
        with self._sending, contextlib.suppress(OSError):
            self.sock.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]] | None:
        """Return the messages that have come, or None when the line is closed or talks nonsense."""
        try:
            data = self.sock.recv(1 << 16)
            if not data or len(self._rest) > LONGEST:
                return None
            *lines, self._rest = (self._rest + data).split(b"\n")
            messages = [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return None
        self.heard = time.monotonic()
        return messages if all(isinstance(message, dict) for message in messages) else None
