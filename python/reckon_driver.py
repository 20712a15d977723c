"""The driver: serves one context to the host, in IPython's semantics.

A zygote calls `prepare` once and forks; each child calls `serve`, which never returns.
Standard output and error are pipes; everything else travels on the control channel as frames (see `reckon_values`).
Rooms, limits and the fork itself are not made here.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import math
import os
import re
import resource
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from subprocess import CalledProcessError

import reckon_figures
import reckon_random
from reckon_channel import Channel, Signals
from reckon_shell import Shell, make_shell
from reckon_streams import Streams, keep_order, refuse_input
from reckon_traceback import describe_briefly, hide
from reckon_values import bundle, encode

#: Exit status of a context that could not take on its identity.
FATAL = 70

#: Where code begins, in a room.
_WORKSPACE = "/workspace"

#: Loaded into the zygote when the image has them.
PACKAGES = ("numpy", "pandas", "matplotlib", "matplotlib.pyplot")

#: Touches the pages that a first cell needs, in the zygote and again in each child.
_WARM_CELLS = (
    "reckon_warm = [1]\nprint(len(reckon_warm))\nreckon_warm",
    "def reckon_fail():\n    return 1 / 0\nreckon_fail()",
)
_WARM_PACKAGE_CELLS = {
    "numpy": "import numpy\nnumpy.arange(4.0).reshape(2, 2) @ numpy.eye(2)",
    "pandas": "import pandas\npandas.DataFrame({'a': [1, 2], 'b': ['x', 'y']})",
    "matplotlib.pyplot": "import matplotlib.pyplot\nmatplotlib.pyplot.plot([1, 2, 3])\nmatplotlib.pyplot.show()",
}

#: What limits numeric libraries to one thread in a zygote.
_THREAD_COUNTS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

#: Code that may gain from linear algebra on several threads.
_LINEAR_ALGEBRA = re.compile(
    r"@|\bdot\b|linalg|matmul|einsum|tensordot|inner\(|lstsq|polyfit|\.corr\(|\.cov\(|scipy|sklearn|statsmodels"
)

_shell: Shell | None = None
_rehearsed: Driver | None = None
_blas: Callable[[int], None] | None = None


def prepare() -> dict:
    """Imports and warms everything a context needs; returns the versions of Python and the packages found."""
    global _shell, _blas
    sys.dont_write_bytecode = True  # The workspace is the user's; no __pycache__ in it.
    sys.argv = [""]
    _import_from_cwd()
    _shell = make_shell()
    _shell.outlet = _Mute()
    packages = {}
    for name in PACKAGES:
        version = _import(name)
        if version is not None and "." not in name:
            packages[name] = version
    if _loaded("pandas"):
        _set_pandas_options()
    if _loaded("matplotlib.pyplot"):
        reckon_figures.set_up(_shell)
    else:
        reckon_figures.set_up_later()
    _blas = _find_blas()
    import asyncio  # noqa: F401 - loaded here, so that no context loads it
    import getpass  # noqa: F401
    import multiprocessing  # noqa: F401
    import tempfile  # noqa: F401
    import uuid  # noqa: F401

    if (ssl := sys.modules.get("_ssl")) is not None:
        ssl.RAND_bytes(1)  # OpenSSL sets itself up on first use, which costs a context 3 ms.

    with _silenced():
        _warm(_shell, [*_WARM_CELLS, *(cell for name, cell in _WARM_PACKAGE_CELLS.items() if _loaded(name))])
    reckon_figures.forget_fonts()
    return {"python": ".".join(map(str, sys.version_info[:3])), "packages": packages}


def rehearse() -> None:
    """Makes the driver that serves every child of this process, and has it run cells with nobody to hear them.

    What is made here need not be made by each child, in pages of its own.
    """
    global _rehearsed
    for name in _THREAD_COUNTS:
        # One thread was for the zygote; what a context starts or loads later may have more.
        os.environ.pop(name, None)
    _shell.move(_WORKSPACE)
    with _silenced():
        _rehearsed = Driver()
        _rehearsed.rehearse()


def serve(ctl_fd: int, seal: Callable[[], None], warm: bool = True, reseeded: bool = False) -> None:
    """Serves the context of this process on `ctl_fd`; never returns.

    `seal` raises the last wall once the context knows whose it is. A context that somebody waits for is not warmed up.
    With `reseeded` the states that `reckon_random` found have been filled already.
    """
    status = FATAL
    try:
        if not reseeded:
            reckon_random.reseed()
        (_rehearsed or Driver()).run(ctl_fd, seal, warm)
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
            sys.stderr.flush()
    finally:
        os._exit(status)


class Driver:
    """One context: its shell, its streams and its channel to the host."""

    def __init__(self) -> None:
        self._seal: Callable[[], None] | None = None
        self._signals = Signals()
        self._signals.install()
        self._channel: Channel | _Deaf | None = None
        self._streams = Streams()
        self._streams.install()
        refuse_input(self._streams)
        keep_order(self._streams)
        os.register_at_fork(before=self._streams.before_fork, after_in_child=self._after_fork_in_child)
        self._shell = _shell
        self._signals.taker = _shell.take_interrupt
        self._id: object = None
        self._blas = _blas

    def run(self, ctl_fd: int, seal: Callable[[], None], warm: bool) -> None:
        """Announces the context, warmed up if there is time for that, and serves the host's requests for ever."""
        self._seal = seal
        threading.main_thread()._set_native_id()
        if warm:
            with _silenced():
                self._warm_up(_WARM_CELLS[:1])
        if self._channel is None:
            self._channel = Channel(ctl_fd, self._signals)
        else:
            self._channel.move_to(ctl_fd)
        self._shell.outlet = self
        self._channel.send({"type": "ready"})
        # While the host hears that, and before anything of it is read.
        reckon_random.reseed_ssl()
        while True:
            self._serve_next()

    def _serve_next(self) -> None:
        frame = self._channel.next()
        if frame.get("type") == "execute":
            self._execute(frame)
        elif frame.get("type") == "adopt":
            self._adopt(frame)

    def rehearse(self) -> None:
        """Runs cells, and one the whole way that a request takes, over a channel that children give another end."""
        self._warm_up(_WARM_CELLS)
        host, own = socket.socketpair()
        with host:
            self._channel = Channel(own.detach(), self._signals)
            self._shell.outlet = self
            self._channel.send({"type": "ready"})
            host.sendall(encode({"type": "execute", "id": "", "code": "print(1)"}))
            self._serve_next()
        self._shell.outlet = _Mute()
        self._shell.forget()

    def _warm_up(self, cells: tuple[str, ...]) -> None:
        """Runs `cells`, and one the whole way but for the channel."""
        _warm(self._shell, cells)
        channel, self._channel = self._channel, _Deaf()
        self._execute({"id": "", "code": "print(1)"})
        self._channel = channel
        self._shell.forget()
        self._streams.rest()

    # What the shell says (its `Outlet`).

    def display(self, data: dict, metadata: dict | None, display_id: str | None, update: bool) -> None:
        """Shows or updates a display; in a forked child its text is printed."""
        if not self._channel.is_ours:
            print(data.get("text/plain", ""))
            return
        kind = "update_display" if update else "display"
        safe, about = bundle(data, metadata)
        self._say({"type": kind, "id": self._id, "data": safe, "metadata": about, "display_id": display_id})

    def result(self, data: dict, metadata: dict | None, count: int) -> None:
        """Shows the value of a cell."""
        if not self._channel.is_ours:
            print(data.get("text/plain", ""))
            return
        safe, about = bundle(data, metadata)
        self._say({"type": "result", "id": self._id, "data": safe, "metadata": about, "execution_count": count})

    def error(self, name: str, message: str, traceback: str) -> None:
        """Reports the exception that ended a cell."""
        if not self._channel.is_ours:
            print(traceback, file=sys.stderr)
            return
        self._say({"type": "error", "id": self._id, "name": name, "message": message, "traceback": traceback})

    def clear(self, wait: bool) -> None:
        """Asks the host to take back what the cell has shown."""
        if self._channel.is_ours:
            self._streams.flush()
            mask = self._signals.hold()
            try:
                self._channel.send({"type": "clear_output", "id": self._id, "wait": wait})
            finally:
                self._signals.release(mask)

    def _say(self, frame: dict) -> None:
        self._streams.flush()
        mask = self._signals.hold()
        try:
            self._channel.send_and_drain(frame)
        finally:
            self._signals.release(mask)

    # What the host asks.

    def _adopt(self, frame: dict) -> None:
        try:
            for name, value in (frame.get("env") or {}).items():
                os.environ[name] = value
            cwd = frame.get("cwd") or _WORKSPACE
            os.chdir(cwd)
            if "TZ" in os.environ:
                import time

                time.tzset()
            if cwd != self._shell.starting_dir:
                self._shell.move(cwd)
            if (process := sys.modules.get("multiprocessing.process")) is not None:
                process.ORIGINAL_DIR = cwd
            self._seal()
        except BaseException as error:
            self._channel.send({"type": "fatal", "message": f"adopt: {type(error).__name__}: {error}"})
            os._exit(FATAL)

    def _execute(self, frame: dict) -> None:
        shell = self._shell
        self._id = frame.get("id")
        code = frame.get("code") or ""
        self._streams.heal()
        shell.begin()
        if self._blas is not None and _LINEAR_ALGEBRA.search(code):
            blas, self._blas = self._blas, None
            blas(len(os.sched_getaffinity(0)))
        around = _Surroundings(frame.get("env"), frame.get("cwd"))
        self._signals.interrupted = False
        with _processor_time(frame.get("cpu_seconds")):
            self._as_user(lambda: self._run_cell(code, around))
            self._as_user(shell.figures.show_open)
        shell.stop_script_loop()
        around.leave()
        self._streams.rest()
        if not self._channel.is_ours:
            os._exit(0 if shell.failure is None else 1)
        status = _status(shell.failure, self._signals.interrupted)
        count = shell.execution_count - 1
        self._channel.send({"type": "finished", "id": self._id, "status": status, "execution_count": count})

    def _run_cell(self, code: str, around: _Surroundings) -> None:
        around.enter()
        self._shell.execute(code)

    def _as_user(self, work: Callable[[], None]) -> None:
        """Does `work` with the user's signals let in; what still escapes it is reported.

        A handler may raise between any two lines until the signals are held, so each try has one around it.
        """
        escaped = late = None
        try:
            try:
                try:
                    self._signals.open()
                    work()
                except BaseException as error:
                    escaped = error
                late = self._signals.close()
            except BaseException as error:
                late = error
                self._signals.close()
        except BaseException as error:
            late = error
            self._signals.close()
        if escaped is None and late is not None and not isinstance(late, KeyboardInterrupt):
            escaped = late  # An interrupt that came when all was done has nothing left to stop.
        if escaped is not None and self._shell.failure is None:
            self._report_escaped(escaped)

    def _report_escaped(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._shell.report(error)
            return
        # Without running code of the user's, which no interrupt could end now.
        self._shell.failure = type(error)
        self.error(*describe_briefly(error))

    # Forks that user code makes.

    def _after_fork_in_child(self) -> None:
        self._streams.after_fork_in_child()
        self._channel.abandon()


@contextlib.contextmanager
def _processor_time(seconds: int | None) -> Iterator[None]:
    """Has the kernel end this process, or a child of it, that uses more than `seconds` meanwhile: the stand-in of a
    host where no cgroup counts, which code that means to can lift."""
    if not seconds:
        yield
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(time.process_time()) + seconds
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
    try:
        yield
    finally:
        # The code may have lowered it for good.
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


def _status(failure: type[BaseException] | None, interrupted: bool) -> str:
    if failure is None:
        return "ok"
    # IPython's `%%bash` answers an interrupt with the failure of its process.
    if issubclass(failure, KeyboardInterrupt) or (interrupted and issubclass(failure, CalledProcessError)):
        return "interrupted"
    return "error"


class _Surroundings:
    """Environment and directory that one execution asked for, put back after it."""

    def __init__(self, env: dict | None, cwd: str | None) -> None:
        self._env = env or {}
        self._cwd = cwd
        self._old_env: dict[str, str | None] = {}
        self._old_cwd: str | None = None

    def enter(self) -> None:
        """Takes effect; raises OSError where the directory is not there."""
        for name, value in self._env.items():
            self._old_env[name] = os.environ.get(name)
            os.environ[name] = str(value)
        if self._cwd is not None:
            old = os.getcwd()
            os.chdir(self._cwd)
            self._old_cwd = old

    def leave(self) -> None:
        """Puts back what `enter` changed, as far as it still can be."""
        for name, value in self._old_env.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if self._old_cwd is not None:
            with contextlib.suppress(OSError):
                os.chdir(self._old_cwd)


class _Deaf:
    """A channel for warming up."""

    is_ours = True

    def send(self, frame: dict) -> None:
        """Hears nothing."""


class _Mute:
    """An outlet that says nothing, for warm-up cells."""

    def display(self, data, metadata, display_id, update) -> None:
        bundle(data, metadata)

    def result(self, data, metadata, count) -> None:
        bundle(data, metadata)

    def error(self, name, message, traceback) -> None:
        pass

    def clear(self, wait) -> None:
        pass


def _warm(shell: Shell, cells) -> None:
    """Runs `cells` and leaves no trace of them."""
    for cell in cells:
        shell.begin()
        shell.execute(cell)
        shell.figures.show_open()
    sys.stdout.flush()
    sys.stderr.flush()
    shell.forget()


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Sends what is written to descriptors 1 and 2 into a pipe that nobody reads."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    try:
        yield
    finally:
        for fd, target in zip(saved, (1, 2), strict=True):
            os.dup2(fd, target)
            os.close(fd)
        os.close(writer)
        os.close(reader)


def _import(name: str) -> str | None:
    """Imports `name`; returns its version, or None where the image has none that works."""
    try:
        module = importlib.import_module(name)
    except Exception:
        return None
    return str(getattr(module, "__version__", "unknown"))


def _loaded(name: str) -> bool:
    return sys.modules.get(name) is not None


def _import_from_cwd() -> None:
    """Makes the current directory the first place that imports look in, as in a notebook."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = ["", *(entry for entry in sys.path if entry and os.path.abspath(entry) != here)]


def _set_pandas_options() -> None:
    import pandas

    # The notebook's defaults; without a kernel pandas would take this for a narrow terminal.
    pandas.set_option("display.max_rows", 60, "display.max_columns", 20, "display.width", 120)


def _find_blas() -> Callable[[int], None] | None:
    """Returns the function that sets the number of threads of NumPy's OpenBLAS, if it is there."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            paths = {line.split(maxsplit=5)[5].strip() for line in maps if "openblas" in line}
        for path in sorted(paths):
            library = ctypes.CDLL(path)
            for name in ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_"):
                function = getattr(library, name, None)
                if function is not None:
                    function.argtypes = [ctypes.c_int]
                    function.restype = None
                    return function
    except (OSError, IndexError):
        pass
    return None


hide(serve.__code__)
