"""The control channel of a context, and the signals that must not disturb it.

Between executions and while a frame is on its way every signal waits;
Python handlers, which may raise, run in user code and nowhere else.
"""

from __future__ import annotations

import _signal
import collections
import fcntl
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

from reckon_traceback import hide
from reckon_values import decode_length, encode, encode_bundle

#: Out of the way of user code that closes "all" descriptors up to some small number.
LOWEST_FD = 100

#: Seconds after an interrupt in which a second one is not heard.
DEAF = 0.02

_HELD = {
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
}


class Signals:
    """Decides when signals reach the process: in user code, and while it idles (where an interrupt is ignored)."""

    def __init__(self) -> None:
        self._users_mask: set = set()
        self._armed = False
        self._sending = False
        self._deferred = False
        self._deaf_until = 0.0
        #: Asked at every interrupt with the frame that it came at; when it says True, nothing is raised there.
        self.taker: Callable[[FrameType | None], bool] = lambda frame: False
        #: Whether user code was interrupted; the driver resets it.
        self.interrupted = False
        self._handler = self._interrupt  # One object, because user code compares it.

    def install(self) -> None:
        """Takes over SIGINT and holds all signals."""
        # asyncio.Runner and others look for `default_int_handler`; this one is it, with a memory.
        signal.default_int_handler = self._handler
        _signal.signal(signal.SIGINT, self._handler)
        self._users_mask = _signal.pthread_sigmask(signal.SIG_BLOCK, _HELD) - {signal.SIGINT}

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._sending:
            # Held signals come here all the same when another thread of the user's takes them.
            self._deferred = True
        elif self._armed:
            now = time.monotonic()
            if now >= self._deaf_until:
                # A storm of signals must not overtake the handling of its first one.
                self._deaf_until = now + DEAF
                self.interrupted = True
                if not self.taker(frame):
                    raise KeyboardInterrupt

    def open(self) -> None:
        """Lets signals in; a handler may raise from here on, even from this very call."""
        self._deaf_until = 0.0
        self._armed = True
        _signal.pthread_sigmask(signal.SIG_SETMASK, self._users_mask)

    def close(self) -> BaseException | None:
        """Holds signals again; returns what a handler of the user's raised at the last moment."""
        late = None
        try:
            self._users_mask = _signal.pthread_sigmask(signal.SIG_BLOCK, _HELD) - {signal.SIGINT}
        except BaseException as error:
            late = error
        self._armed = False
        if _signal.getsignal(signal.SIGINT) is not self._handler:
            _signal.signal(signal.SIGINT, self._handler)
        return late

    def hold(self) -> set | None:
        """Holds signals within user code, for a frame to be sent whole; returns what `release` takes."""
        if self._sending or threading.get_ident() != threading.main_thread().ident:
            return None  # Python handlers run in the main thread only.
        self._sending = True
        try:
            return _signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        except BaseException:  # A handler of the user's raised in the call, after it had taken effect.
            self._sending = False
            _signal.pthread_sigmask(signal.SIG_SETMASK, self._users_mask if self._armed else _HELD)
            raise

    def release(self, mask: set | None) -> None:
        """Lets in what was held; a handler may raise here."""
        if mask is None:
            return
        try:
            _signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        finally:
            self._sending = False
        if self._deferred:
            self._deferred = False
            if self._armed:
                self.interrupted = True
                raise KeyboardInterrupt

    def idle(self, wait) -> bool:
        """Calls `wait` with signals let in and interrupts ignored; says whether it ended by itself."""
        try:
            _signal.pthread_sigmask(signal.SIG_SETMASK, self._users_mask)
            wait()
            # In here, because a handler of the user's may raise until signals are held again.
            return self.close() is None
        except BaseException:  # noqa: BLE001 - as above
            self.close()
            return False


class Channel:
    """Frames to and from the host."""

    def __init__(self, fd: int, signals: Signals) -> None:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST_FD)
        os.close(fd)
        os.set_blocking(high, True)
        self._socket = socket.socket(fileno=high)
        self._poll = select.poll()
        self._poll.register(high, select.POLLIN)
        self._signals = signals
        self._buffer = bytearray()
        self._waiting: collections.deque[dict] = collections.deque()
        # Re-entrant: a finaliser that displays may run while this thread sends.
        self._lock = threading.RLock()
        self._number = 0
        self._pid = os.getpid()

    @property
    def is_ours(self) -> bool:
        """Whether this process is the context, and not a child that user code forked."""
        return self._pid == os.getpid()

    def move_to(self, fd: int) -> None:
        """Speaks through another socket from here on: this process was forked from the one that made the channel."""
        os.dup2(fd, self._socket.fileno(), inheritable=False)
        os.close(fd)
        self._pid = os.getpid()

    def abandon(self) -> None:
        """Gives the channel up in a forked child, which must not speak for its parent."""
        self._socket.close()

    def send(self, frame: dict) -> None:
        """Sends a small frame."""
        self._send(encode(frame))

    def send_and_drain(self, frame: dict) -> None:
        """Sends a frame and waits until the host has read all output written before it."""
        self._number += 1
        number = frame["n"] = self._number
        self._send(encode_bundle(frame) if "data" in frame else encode(frame))
        if threading.get_ident() != threading.main_thread().ident:
            return  # The main thread reads the channel; order is then best effort.
        while True:
            answer = self._receive()
            if answer.get("type") != "drained":
                self._waiting.append(answer)
            elif answer.get("n") == number:
                return

    def next(self) -> dict:
        """Returns the next request of the host; never returns when there is none to come."""
        while True:
            while not (self._waiting or self._buffer or self._signals.idle(self._poll.poll)):
                pass
            frame = self._waiting.popleft() if self._waiting else self._receive()
            if frame.get("type") != "drained":
                return frame

    def _send(self, wire: bytes) -> None:
        with self._lock:
            try:
                self._socket.sendall(wire)
            except OSError:
                os._exit(0)  # The host is gone.

    def _receive(self) -> dict:
        length = decode_length(self._take(4))
        return json.loads(self._take(length))

    def _take(self, count: int) -> bytes:
        buffer = self._buffer
        while len(buffer) < count:
            try:
                more = self._socket.recv(max(65536, count - len(buffer)))
            except OSError:
                more = b""
            if not more:
                os._exit(0)  # The host is gone.
            buffer += more
        taken = bytes(buffer[:count])
        del buffer[:count]
        return taken


hide(Channel.next.__code__)
