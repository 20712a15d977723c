"""Where the shell's words go: IPython's displays and results as calls of an `Outlet`."""

from __future__ import annotations

from typing import Protocol

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher

#: A repr longer than this is not kept for `%history -o`.
_HISTORY_REPR = 64 * 1024


class Outlet(Protocol):
    """Where the shell's words go."""

    def display(self, data: dict, metadata: dict | None, display_id: str | None, update: bool) -> None:
        """Shows or updates a display."""

    def result(self, data: dict, metadata: dict | None, count: int) -> None:
        """Shows the value of a cell."""

    def error(self, name: str, message: str, traceback: str) -> None:
        """Reports the exception that ended a cell."""

    def clear(self, wait: bool) -> None:
        """Takes back what the cell has shown."""


class Publisher(DisplayPublisher):
    """`display`, `update_display` and `clear_output` as frames."""

    def _setup_execution_tracking(self):
        """Tracks nothing: outputs are not kept here."""

    def publish(self, data, metadata=None, source=None, *, transient=None, update=False, **kwargs):
        self._validate_data(data, metadata)
        display_id = (transient or {}).get("display_id")
        self.shell.outlet.display(data, metadata, display_id, update)

    def clear_output(self, wait=False):
        self.shell.outlet.clear(bool(wait))


class Hook(DisplayHook):
    """The value of a cell as a frame."""

    def quiet(self):
        cell = self.shell.history_manager.input_hist_parsed[-1]
        # IPython tokenises every cell here; one without a semicolon needs no look.
        return ";" in cell and super().quiet()

    def write_output_prompt(self):
        """Writes nothing: the number travels in the frame."""

    def compute_format_data(self, result):
        if self.shell.figures.is_shown(result):
            return {"text/plain": repr(result)}, {}
        return super().compute_format_data(result)

    def write_format_data(self, format_dict, md_dict=None):
        self.shell.outlet.result(format_dict, md_dict, self.prompt_count)

    def log_output(self, format_dict):
        # Without IPython's copy of every output ever shown.
        text = format_dict.get("text/plain")
        if isinstance(text, str) and len(text) <= _HISTORY_REPR:
            self.shell.history_manager.output_hist_reprs[self.prompt_count] = text

    def finish_displayhook(self):
        self._is_active = False
