"""Exceptions of user code as name, message and a plain traceback without our frames or IPython's."""

from __future__ import annotations

import codeop
import linecache
import os
import re
import traceback
import types

import IPython

from reckon_values import cut_middle

MESSAGE_LIMIT = 64 * 1024
TRACEBACK_LIMIT = 256 * 1024
#: Of a longer chain of frames only both ends are looked at: a raised recursion limit allows millions.
FRAME_LIMIT = 2000

_IPYTHON = os.path.dirname(IPython.__file__) + os.sep
#: `codeop` compiles the cells.
_own_files: set[str] = {codeop.__file__}

_CELL_NAME = re.compile(r"<ipython-input-(\d+)-[0-9a-f]+>")
_CELL_LINE = re.compile(r'^([ |]*)  File "<ipython-input-(\d+)-[0-9a-f]+>", line ', re.MULTILINE)


#: What an exception's own methods may raise while it is told; an interrupt is somebody else's.
_ITS_OWN = (Exception, SystemExit, GeneratorExit)


def hide(code: types.CodeType) -> None:
    """Keeps frames of the file that `code` comes from out of every traceback."""
    _own_files.add(code.co_filename)


def describe(error: BaseException) -> tuple[str, str, str]:
    """Returns name, message and traceback of `error`; runs the exception's own `__str__`."""
    name = _name(error)
    message = _message(error)
    try:
        text = _text(error)
    except _ITS_OWN:
        text = f"{name}: {message}" if message else name
    return name, cut_middle(message, MESSAGE_LIMIT), cut_middle(text, TRACEBACK_LIMIT)


def describe_briefly(error: BaseException) -> tuple[str, str, str]:
    """Returns the same as `describe` without running any code of the user's."""
    name = type.__getattribute__(type(error), "__name__")
    return name, "", name


def _name(error: BaseException) -> str:
    name = type.__getattribute__(type(error), "__name__")
    return name if isinstance(name, str) else "Exception"


def _message(error: BaseException) -> str:
    try:
        message = str(error)
    except _ITS_OWN:
        return "<the exception could not be turned into text>"
    if isinstance(error, SyntaxError):
        message = _CELL_NAME.sub(r"Cell In[\1]", message)
    return message


def _text(error: BaseException) -> str:
    shown = _shorten(error.__traceback__)
    report = traceback.TracebackException(type(error), error, shown, compact=True)
    _clean(report)
    text = "".join(report.format()).rstrip("\n")
    return _CELL_LINE.sub(r"\1  Cell In[\2], line ", text)


def _shorten(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Returns `trace` without hidden frames, and without the middle of an extremely deep one."""
    steps = []
    while trace is not None:
        if not _hidden(trace.tb_frame.f_code.co_filename):
            steps.append(trace)
        trace = trace.tb_next
    if len(steps) > FRAME_LIMIT:
        steps = steps[: FRAME_LIMIT // 2] + steps[-FRAME_LIMIT // 2 :]
    shown = None
    for step in reversed(steps):
        # New objects, because the user may hold the exception and its own traceback.
        shown = types.TracebackType(shown, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return shown


def _clean(report: traceback.TracebackException) -> None:
    """Removes hidden frames from `report` and from all that it is chained to."""
    seen: set[int] = set()
    waiting = [report]
    while waiting:
        report = waiting.pop()
        if report is None or id(report) in seen:
            continue
        seen.add(id(report))
        _show_line(report)
        if report.stack:
            report.stack[:] = [frame for frame in report.stack if not _hidden(frame.filename)]
        waiting += [report.__cause__, report.__context__, *(getattr(report, "exceptions", None) or ())]


def _show_line(report: traceback.TracebackException) -> None:
    """Gives a syntax error found by the compiler the line that only one found by the parser has."""
    if getattr(report, "lineno", None) and getattr(report, "text", "") is None:
        report.text = linecache.getline(report.filename or "", int(report.lineno)) or None


def _hidden(filename: str) -> bool:
    return filename in _own_files or filename.startswith(_IPYTHON)


hide(describe.__code__)
