"""Standard streams of a context: real text streams on descriptors 0, 1 and 2.

Output is flushed adaptively.
While prints are sparse, each one leaves at once, whole.
In a burst `write` is CPython's own again, at full speed, and a short-lived thread flushes every few milliseconds.
No thread exists before a burst, after one, between executions or at a fork.
"""

from __future__ import annotations

import _thread
import ctypes
import functools
import io
import os
import sys
import threading
import time

from reckon_traceback import hide

#: So many writes in a row are flushed one by one; past that a thread is cheaper.
BURST = 64
#: Seconds without a flush after which the next write counts as the first again.
QUIET = 0.002
#: Seconds between two flushes of a burst. With as much for the interpreter lock, output is at most 5 ms old.
TICK = 0.002

#: Before 3.12.4 text written while another thread's text is being flushed garbles both (CPython issue 119506).
_TEXT_BREAKS_IN_THREADS = sys.version_info < (3, 12, 4)

_MAIN_THREAD = threading.main_thread().ident

NO_INPUT = "there is no interactive input here: give the value in the code instead"


class Soon:
    """Flushes a stream as soon as the main thread stands between two instructions.

    A print writes its values, separators and end one by one, and only this sees the end of it:
    one print then is one write to the pipe, which other processes' output cannot cut in two.
    CPython keeps a list of due calls to C functions taking a pointer and returning an int;
    here the function is `PyObject_IsTrue`, which calls `__bool__`, and so lets exceptions through.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __bool__(self) -> bool:
        try:
            self._stream.flush_sparse()
        except RuntimeError:
            # Due inside a signal handler, which itself runs inside a flush of this stream: that one suffices.
            pass
        return False

    # The interpreter looks for due calls after every call, but not after reading an attribute:
    # asked for in the ordinary way, the flush would come before the print has ended.
    _refused = property(
        functools.partial(
            ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.py_object)(("Py_AddPendingCall", ctypes.pythonapi)),
            ctypes.cast(ctypes.pythonapi.PyObject_IsTrue, ctypes.c_void_p),
        ),
        doc="Asks for the call; not zero where the interpreter has no room for it.",
    )

    @property
    def request(self) -> bool:
        """Asks for the flush; whether it will come."""
        return self._refused == 0


class Stream(io.TextIOWrapper):
    """sys.stdout or sys.stderr of a context."""

    def __init__(self, fd: int, name: str, flusher: Flusher) -> None:
        buffer = io.BufferedWriter(io.FileIO(fd, "w", closefd=False), 65536)
        # A lone surrogate is spelled out; a print must not fail because of what it prints.
        super().__init__(buffer, encoding="utf-8", errors="backslashreplace", newline="\n")
        self.mode = "w"
        self._name = name
        self._flusher = flusher
        self._plain_write = super().write
        self._soon = Soon(self)
        # A partial, because the interpreter looks for due calls after a call into C only.
        self._watching = functools.partial(self._write_sparse)
        self._reporting = self._write_reporting
        self._flushed_at = 0.0
        self._run = 0
        self.bursting = False
        self.be_sparse()

    def __repr__(self) -> str:
        return f"<{self._name} of the context>"

    def be_sparse(self) -> None:
        """From here on each write is flushed, until a burst begins."""
        self._run = 0
        self.bursting = False
        self._take_writes(self._watching)

    def _take_writes(self, function) -> None:
        """Lets `function` stand before the method `write`, or nothing; one that the user put there stays.

        An attribute of the instance comes before the method; without it a write costs no Python call.
        """
        current = self.__dict__.get("write")
        if current is not None and current is not self._watching and current is not self._reporting:
            return
        if function is not None:
            self.write = function
        else:
            self.__dict__.pop("write", None)

    def _write_sparse(self, text: str) -> int:
        count = self._plain_write(text)
        if _thread.get_ident() != _MAIN_THREAD or not self._soon.request:
            self.flush_sparse()
        elif self.write is self._watching:
            # The rest of this print is written without a Python call, in which the flush would already be due.
            # From the request to here there is no call, and none may come in.
            del self.write
        return count

    def flush_sparse(self) -> None:
        """Flushes, or begins a burst after too many flushes in a row."""
        now = time.monotonic()
        if now - self._flushed_at > QUIET:
            self._run = 0
        self._flushed_at = now
        self._run += 1
        if self._run > BURST and self._flusher.watch(self):
            self.bursting = True
            self._take_writes(None)
        elif not self.closed:
            self._take_writes(self._watching)
            self.flush()

    def _write_reporting(self, text: str) -> int:
        self._take_writes(None)
        return self._plain_write(text)

    def tick(self) -> None:
        """Flushes what a burst has written; ends the burst when nothing came since the last tick."""
        if "write" in self.__dict__:
            self.be_sparse()
        else:
            # The next write reports that it came, and is the last one to cost a Python call until the next tick.
            self._take_writes(self._reporting)
        self.flush()


class Flusher:
    """The thread that flushes the streams during a burst."""

    def __init__(self) -> None:
        self._streams: list[Stream] = []
        self._stop = _thread.allocate_lock()
        self._ended = _thread.allocate_lock()
        self._pid = 0
        self._interval = sys.getswitchinterval()

    def watch(self, stream: Stream) -> bool:
        """Flushes `stream` from now on; says False where no thread can be started."""
        if stream not in self._streams:
            self._streams.append(stream)
        if self.running:
            return True
        self._stop = _thread.allocate_lock()
        self._ended = _thread.allocate_lock()
        self._stop.acquire()
        self._ended.acquire()
        # Known before it runs, so that an interrupt between these lines leaves no thread that nobody ends.
        self._pid = os.getpid()
        self._interval = sys.getswitchinterval()
        try:
            # Not threading.Thread: what the user counts and joins is theirs.
            _thread.start_new_thread(self._run, (self._stop, self._ended))
        except RuntimeError:
            self._pid = 0
            self._streams.clear()
            return False
        sys.setswitchinterval(min(self._interval, TICK))
        return True

    @property
    def running(self) -> bool:
        """Whether this process has the thread."""
        return self._pid == os.getpid()

    def stop(self) -> None:
        """Ends the thread and waits until it is gone; the streams write sparsely again."""
        if self.running:
            if self._stop.locked():
                self._stop.release()
            # An interrupt may have cut an earlier wait short, so this one must not be for ever.
            self._ended.acquire(timeout=1)
        self.forget()

    def forget(self) -> None:
        """Returns to the state without a thread (after a fork it is not there any more)."""
        if self._pid and sys.getswitchinterval() <= TICK:
            sys.setswitchinterval(self._interval)
        self._pid = 0
        for stream in self._streams:
            stream.be_sparse()
        self._streams = []

    def _run(self, stop, ended) -> None:
        try:
            while not stop.acquire(timeout=TICK):
                for stream in list(self._streams):
                    try:
                        if stream.bursting:
                            stream.tick()
                    except (OSError, ValueError):
                        stream.be_sparse()  # Closed, or the host is gone: the writer will see it.
        finally:
            ended.release()


class Streams:
    """The standard streams of this process, kept whole from one execution to the next."""

    def __init__(self) -> None:
        self._flusher = Flusher()
        self._flush_c = _c_flush()
        self.stdin = self.stdout = self.stderr = None

    def install(self) -> None:
        """Makes sys.stdin, sys.stdout and sys.stderr ours."""
        self.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        self.stdout = Stream(1, "stdout", self._flusher)
        self.stderr = Stream(2, "stderr", self._flusher)
        sys.stdin = sys.__stdin__ = self.stdin
        sys.stdout = sys.__stdout__ = self.stdout
        sys.stderr = sys.__stderr__ = self.stderr

    def share(self) -> None:
        """Prepares for several threads that print at once."""
        if not _TEXT_BREAKS_IN_THREADS:
            return
        for stream in (self.stdout, self.stderr):
            if not stream.closed and not stream.write_through:
                stream.reconfigure(write_through=True)

    def unshare(self) -> None:
        """Returns to full speed when the user's threads are gone."""
        if _TEXT_BREAKS_IN_THREADS and self.stdout.write_through and threading.active_count() == 1:
            for stream in (self.stdout, self.stderr):
                stream.reconfigure(write_through=False)

    def heal(self) -> None:
        """Puts a working stream where user code closed or lost one; one that it replaced stays."""
        if self.stdout.closed:
            self.stdout = sys.__stdout__ = Stream(1, "stdout", self._flusher)
        if self.stderr.closed:
            self.stderr = sys.__stderr__ = Stream(2, "stderr", self._flusher)
        if self.stdin.closed:
            self.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        self.unshare()
        for fd in (1, 2):
            if not os.get_blocking(fd):
                os.set_blocking(fd, True)  # A subprocess made the shared pipe non-blocking.
        for name in ("stdin", "stdout", "stderr"):
            current = getattr(sys, name, None)
            if current is not getattr(self, name) and _lost(current):
                setattr(sys, name, getattr(self, name))

    def flush(self) -> None:
        """Brings everything written so far into the pipes: Python's streams and C's stdout."""
        for stream in (self.stdout, self.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        for stream in (sys.stdout, sys.stderr):
            if stream is not self.stdout and stream is not self.stderr:
                try:
                    stream.flush()
                except Exception:
                    pass
        self._flush_c()

    def rest(self) -> None:
        """Ends an execution: everything is flushed and no thread of ours is left."""
        self._flusher.stop()
        # An interrupt may have come between a write and the flush that it asked for.
        self.stdout.be_sparse()
        self.stderr.be_sparse()
        self.flush()

    def before_fork(self) -> None:
        """Empties the buffers, or both processes would print them."""
        if self._flusher.running:
            self._flusher.stop()
            # The kernel's thread outlives its last Python line a little; Python 3.12 warns of forks beside it.
            time.sleep(0.0005)
        self.flush()

    def after_fork_in_child(self) -> None:
        """Forgets the thread that this process does not have."""
        self._flusher.forget()


def _lost(stream: object) -> bool:
    if stream is None:
        return True
    try:
        return bool(getattr(stream, "closed", False))
    except Exception:
        return True


def _c_flush():
    """Returns a function that flushes C's stdout.

    `fflush(NULL)` would wait for any FILE that another thread holds, for example in a blocking read.
    """
    try:
        libc = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(libc, "stdout")
        fflush = libc.fflush
    except (OSError, ValueError, AttributeError):
        return lambda: None
    fflush.argtypes = [ctypes.c_void_p]
    fflush.restype = ctypes.c_int
    return functools.partial(fflush, stdout)


def refuse_input(streams: Streams) -> None:
    """Makes `input` and `getpass` fail at once with a reason, unless the user gave sys.stdin another source."""
    import builtins
    import getpass

    real_input = builtins.input

    @functools.wraps(real_input)
    def read_line(prompt: object = "", /) -> str:
        if sys.stdin is streams.stdin:
            raise EOFError(NO_INPUT)
        return real_input(prompt)

    @functools.wraps(getpass.getpass)
    def read_password(prompt: str = "Password: ", stream: object = None) -> str:
        return read_line(prompt)

    builtins.input = read_line
    getpass.getpass = read_password


def keep_order(streams: Streams) -> None:
    """Makes printed text leave before a subprocess can write, and prepares the streams before a thread can print."""
    import subprocess

    subprocess.Popen._execute_child = _after(streams.flush, subprocess.Popen._execute_child)
    os.system = _after(streams.flush, os.system)
    threading.Thread.start = _after(streams.share, threading.Thread.start)


def _after(first, function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        first()
        return function(*args, **kwargs)

    return call


hide(Streams.heal.__code__)
