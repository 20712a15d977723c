"""A host for tests: forks a context as the zygote would, and drains its pipes as the server does."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
# As the zygote does: no threads to lose at a fork.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())

import reckon_driver

#: The patience of a test; nothing that works takes nearly as long.
PATIENCE = 60.0

prepared = reckon_driver.prepare()


class Execution:
    """Everything one execution produced: `events` in order, and what is often asked for."""

    def __init__(self) -> None:
        self.events: list[tuple] = []
        self.times: list[float] = []
        self.finished: dict | None = None

    def add(self, kind: str, value: object) -> None:
        self.times.append(time.monotonic())
        self.events.append((kind, value))

    def _text(self, kind: str) -> str:
        return b"".join(value for name, value in self.events if name == kind).decode()

    @property
    def story(self) -> list[tuple]:
        """The events with pieces of the same stream joined: what a reader sees in order."""
        joined: list[tuple] = []
        for kind, value in self.events:
            if joined and kind in ("stdout", "stderr") and joined[-1][0] == kind:
                joined[-1] = (kind, joined[-1][1] + value)
            else:
                joined.append((kind, value))
        return joined

    @property
    def stdout(self) -> str:
        return self._text("stdout")

    @property
    def stderr(self) -> str:
        return self._text("stderr")

    @property
    def frames(self) -> list[dict]:
        return [value for name, value in self.events if name == "frame"]

    def of(self, kind: str) -> list[dict]:
        return [frame for frame in self.frames if frame["type"] == kind]

    @property
    def error(self) -> dict | None:
        errors = self.of("error")
        return errors[0] if errors else None

    @property
    def result(self) -> dict | None:
        results = self.of("result")
        return results[0]["data"] if results else None

    @property
    def status(self) -> str:
        return self.finished["status"]


class Context:
    """A forked driver with its pipes and channel."""

    def __init__(self, seal=lambda: None, adopt: bool = True, env: dict | None = None, before=lambda: None) -> None:
        self.cwd = tempfile.mkdtemp(prefix="reckon-driver-")
        host, child = socket.socketpair()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = _clone()
        if self.pid == 0:
            os.setpgid(0, 0)
            null = os.open("/dev/null", os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(out_write, 1)
            os.dup2(err_write, 2)
            fd = os.dup(child.fileno())
            os.dup2(fd, 3)
            os.closerange(4, 200)
            before()
            reckon_driver.serve(3, seal)
        child.close()
        os.close(out_write)
        os.close(err_write)
        self.host, self.out, self.err = host, out_read, err_read
        for fd in (self.out, self.err):
            os.set_blocking(fd, False)
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20)
        self._pipes = [self.out, self.err]
        self._buffer = b""
        self._count = 0
        self.exit_status: int | None = None
        self.ready = self._frame(Execution())
        assert self.ready == {"type": "ready"}, self.ready
        if adopt:
            self.send({"type": "adopt", "cwd": self.cwd, "env": env or {}})

    def send(self, frame: dict) -> None:
        body = json.dumps(frame).encode()
        self.host.sendall(struct.pack("<I", len(body)) + body)

    def run(self, code: str, meanwhile=None, **extra) -> Execution:
        """Runs `code` to its end; `meanwhile(execution)` is called after each event until it says True."""
        execution = self.start(code, **extra)
        return self.wait(execution, meanwhile)

    def start(self, code: str, **extra) -> Execution:
        self._count += 1
        self.send({"type": "execute", "id": f"e{self._count}", "code": code, **extra})
        return Execution()

    def wait(self, execution: Execution, meanwhile=None) -> Execution:
        while True:
            frame = self._frame(execution, meanwhile)
            if "n" in frame or frame["type"] == "clear_output":
                self._drain(execution)
            if "n" in frame:
                self.send({"type": "drained", "n": frame["n"]})
            execution.add("frame", frame)
            if frame["type"] == "finished":
                self._drain(execution)
                # The pipes were drained after the frame: put it last.
                execution.events.remove(("frame", frame))
                execution.events.append(("frame", frame))
                execution.finished = frame
                return execution

    def interrupt(self) -> None:
        """Interrupts the context and what it started, as the host does."""
        os.killpg(self.pid, signal.SIGINT)

    def state(self) -> str:
        """Returns the kernel's letter for what the process does: R runs, S sleeps."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0]

    def close(self) -> int:
        """Closes the channel; returns the exit status of the driver."""
        self._close_pipes()
        return self.reap()

    def reap(self) -> int:
        if self.exit_status is None:
            deadline = time.monotonic() + PATIENCE
            pidfd = os.pidfd_open(self.pid)
            try:
                if not select.select([pidfd], [], [], deadline - time.monotonic())[0]:
                    os.kill(self.pid, signal.SIGKILL)
            finally:
                os.close(pidfd)
            _, status = os.waitpid(self.pid, 0)
            self.exit_status = os.waitstatus_to_exitcode(status)
        return self.exit_status

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_error) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.reap()
        import shutil

        shutil.rmtree(self.cwd, ignore_errors=True)
        self._close_pipes()

    def _close_pipes(self) -> None:
        self.host.close()
        while self._pipes:
            os.close(self._pipes.pop())

    def _drain(self, execution: Execution) -> None:
        for name, fd in (("stdout", self.out), ("stderr", self.err)):
            while True:
                try:
                    data = os.read(fd, 1 << 20)
                except BlockingIOError:
                    break
                if not data:
                    break
                execution.add(name, data)

    def _frame(self, execution: Execution, meanwhile=None) -> dict:
        deadline = time.monotonic() + PATIENCE
        while True:
            if len(self._buffer) >= 4:
                length = struct.unpack("<I", self._buffer[:4])[0]
                if len(self._buffer) >= 4 + length:
                    body = self._buffer[4 : 4 + length]
                    self._buffer = self._buffer[4 + length :]
                    return json.loads(body, parse_constant=_no_constant)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no frame in time; so far: {execution.events!r}"[:2000])
            patience = left if meanwhile is None else min(left, 0.1)
            readable, _, _ = select.select([self.host, self.out, self.err], [], [], patience)
            if self.out in readable or self.err in readable:
                self._drain(execution)
            if self.host in readable:
                data = self.host.recv(1 << 20)
                if not data:
                    self._drain(execution)
                    raise EOFError(f"the driver is gone; so far: {execution.events!r}"[:2000])
                self._buffer += data
            if meanwhile is not None and meanwhile(execution):
                meanwhile = None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} in a frame")


def _clone() -> int:
    """Forks without CPython's hooks, as the zygote does."""
    import ctypes

    libc = ctypes.PyDLL(None, use_errno=True)
    sys.stdout.flush()
    return libc.fork()


def native_threads() -> int:
    """How many threads this process has."""
    return len(os.listdir("/proc/self/task"))


assert threading.active_count() == 1 and native_threads() == 1, "prepare() left a thread"
