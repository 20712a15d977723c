"""Figures of matplotlib as a notebook shows them: at `plt.show()` and at the end of a cell, each once.

With them come the parts of IPython that would show them otherwise: its events and its formatter.
Where matplotlib is absent the figures' part does nothing.
"""

from __future__ import annotations

import os
import sys

from IPython.core.events import EventManager
from IPython.core.formatters import DisplayFormatter
from IPython.lib import pretty

from reckon_traceback import hide

INLINE = "module://matplotlib_inline.backend_inline"
#: Modules whose callbacks would draw or show figures a second time.
_DRAWING = ("matplotlib.pyplot", "matplotlib_inline.backend_inline")
#: Types whose only representation is their `repr`, unless a formatter was taught otherwise.
_PLAIN_TYPES = frozenset({int, float, bool, complex, str})
_PLAIN_PRINTER = getattr(pretty, "_repr_pprint", None)


def set_up(shell) -> None:
    """Makes the notebook's backend the one of an already imported pyplot."""
    import matplotlib.backends.backend_agg as agg
    import matplotlib_inline.backend_inline as inline
    from IPython.core.pylabtools import activate_matplotlib

    activate_matplotlib(INLINE)
    inline.configure_inline_support(shell, INLINE)
    # Models like to ask for Agg, whose own `plt.show()` shows nothing.
    agg.show = inline.show
    # Scripts started from a cell have no shell to show anything in.
    os.environ.setdefault("MPLBACKEND", "agg")


def forget_fonts() -> None:
    """Closes the fonts that warming opened: an open one shares its file offset with every other child."""
    manager = sys.modules.get("matplotlib.font_manager")
    clear = getattr(getattr(manager, "_get_font", None), "cache_clear", None)
    if clear is not None:
        clear()


def set_up_later() -> None:
    """Makes the notebook's backend the one that pyplot takes when it is imported."""
    os.environ.setdefault("MPLBACKEND", INLINE)


class Figures:
    """Which figures the current execution has shown."""

    def __init__(self) -> None:
        self._shown: dict[int, object] = {}

    def begin(self) -> None:
        """Forgets what an earlier execution showed."""
        if self._shown:
            self._shown = {}

    def note(self, value: object) -> None:
        """Remembers `value` when it is a figure that was just rendered."""
        if is_figure(value):
            self._shown[id(value)] = value
            # It was drawn; a tight bounding box alone leaves the mark of a change.
            value.stale = False

    def is_shown(self, value: object) -> bool:
        """Whether `value` is a figure that this execution showed and that did not change since."""
        return self._shown.get(id(value)) is value and not value.stale

    def show_open(self) -> None:
        """Shows the open figures that are not shown yet, and closes all."""
        helpers = sys.modules.get("matplotlib._pylab_helpers")
        if helpers is None or not helpers.Gcf.figs:
            return
        import matplotlib
        from matplotlib import pyplot

        if not matplotlib.is_interactive():
            return  # After plt.ioff() figures stay open until plt.show(), as in a notebook.
        inline = sys.modules.get("matplotlib_inline.backend_inline")
        if inline is not None and not inline.InlineBackend.instance().close_figures:
            inline.flush_figures()
            return
        from IPython.display import display

        try:
            for manager in helpers.Gcf.get_all_fig_managers():
                figure = manager.canvas.figure
                if not self.is_shown(figure):
                    metadata = inline._fetch_figure_metadata(figure) if inline else None
                    display(figure, metadata=metadata)
        finally:
            if inline is not None:
                inline.show._to_draw = []
                inline.show._draw_called = False
            pyplot.close("all")


def is_figure(value: object) -> bool:
    """Whether `value` is a matplotlib figure."""
    module = sys.modules.get("matplotlib.figure")
    return module is not None and isinstance(value, module.Figure)


class Events(EventManager):
    """IPython's events, deaf to matplotlib: the driver itself shows figures at the end of a cell."""

    def register(self, event, function):
        if getattr(function, "__module__", None) not in _DRAWING:
            super().register(event, function)

    def unregister(self, event, function):
        if getattr(function, "__module__", None) not in _DRAWING:
            super().unregister(event, function)


class Formatter(DisplayFormatter):
    """IPython's formatter, quick for plain values, that remembers which figures it has rendered."""

    def format(self, obj, include=None, exclude=None):
        if type(obj) in _PLAIN_TYPES and include is None and exclude is None and self._is_plain(type(obj)):
            return {"text/plain": repr(obj)}, {}
        bundle = super().format(obj, include=include, exclude=exclude)
        if is_figure(obj):
            self.parent.figures.note(obj)
        return bundle

    def _is_plain(self, kind: type) -> bool:
        """Whether nobody (`%precision`, SymPy, the user) has taught a formatter something about `kind`."""
        for mime, formatter in self.formatters.items():
            if formatter.type_printers.get(kind) not in (None, _PLAIN_PRINTER) or (
                mime != "text/plain" and formatter.deferred_printers
            ):
                return False
        return self._untaught(self.mimebundle_formatter, kind) and self._untaught(self.ipython_display_formatter, kind)

    @staticmethod
    def _untaught(formatter, kind: type) -> bool:
        return kind not in formatter.type_printers


hide(set_up.__code__)
