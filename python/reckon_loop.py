"""Runs a cell with top-level `await`, and lets interrupts strike only where nothing of the loop's is lost.

An exception between two of the loop's own lines would lose the callback it was about to run, and whoever waits for
that callback would wait for ever. There an interrupt cancels the cell instead, which the loop sees by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
from collections.abc import Coroutine
from types import FrameType

#: Code in which a callback may be neither waiting nor running.
_MACHINERY = (os.path.dirname(asyncio.__file__) + os.sep, selectors.__file__, __file__)


class CellLoop:
    """One cell on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task | None = None
        self._struck = False
        #: What the cell was interrupted by; its cancellation then means that.
        self.interrupt: BaseException | None = None

    def run(self, coroutine: Coroutine) -> object:
        """Returns what `coroutine` returns; an interrupt cancels it, so that it does not go on in the next cell."""
        self._task = task = self._loop.create_task(coroutine)
        if self._struck:
            task.cancel()
        try:
            return self._loop.run_until_complete(task)
        except KeyboardInterrupt as interrupt:
            if task.done() or self.interrupt is not None:
                raise
            self.interrupt = interrupt
            task.cancel()
            return self._loop.run_until_complete(task)

    def take(self, frame: FrameType | None) -> bool:
        """Takes an interrupt that came at `frame`; says False where it is to be raised there.

        A second one is always raised: the first has not ended the cell.
        """
        if self._struck:
            self._cancel()
            return False
        self._struck = True
        if frame is not None and not frame.f_code.co_filename.startswith(_MACHINERY):
            return False
        self.interrupt = KeyboardInterrupt()
        self._cancel()
        return True

    def _cancel(self) -> None:
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # Closed by the user's code.
                self._loop.call_soon_threadsafe(self._task.cancel)
