"""IPython's shell without a terminal: what it shows leaves as frames, and plain cells take a short path.

The shell knows nothing of sockets; an `Outlet` carries what it says.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import linecache
import os
import re
import subprocess
import sys
import warnings
from types import FrameType

import IPython
from IPython.core.async_helpers import get_asyncio_loop
from IPython.core.autocall import ExitAutocall, IPyAutocall
from IPython.core.events import available_events
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell
from IPython.core.macro import Macro
from traitlets import default
from traitlets.config import Config

from reckon_figures import Events, Figures, Formatter
from reckon_loop import CellLoop
from reckon_outlet import Hook, Outlet, Publisher
from reckon_traceback import describe, hide

_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_FIRST_WORD = re.compile(r"\s*([\w.]+)")


class Exit(ExitAutocall):
    """`exit` and `quit`: they end the cell, not the context."""

    def __call__(self, code=None):
        raise SystemExit(code)


class Shell(InteractiveShell):
    """The one shell of a context."""

    display_pub_class = Publisher
    displayhook_class = Hook

    @default("exiter")
    def _exiter_default(self):
        return Exit(self)

    def __init__(self, **kwargs):
        self.outlet: Outlet | None = None
        self.figures = Figures()
        self.failure: type[BaseException] | None = None
        #: The loop of a cell with top-level `await`, while it runs, and what interrupted it, afterwards.
        self._cell_loop: CellLoop | None = None
        self._interrupt: BaseException | None = None
        super().__init__(**kwargs)
        import atexit

        # A context is left by `_exit`; the zygote has nothing of IPython's to clean up.
        atexit.unregister(self.atexit_operations)
        self.db = {}
        # No thread saves the history, and an interrupt on the line of a `with` can leave its lock taken for ever.
        self.history_manager.db_input_cache_lock = self.history_manager.db_output_cache_lock = _nothing
        self.loop_runner = self._run_loop
        self.set_hook("show_in_pager", _print_page, 0)
        # Always in force: entering and leaving them for each cell has a price and no use here.
        self.builtin_trap.__enter__()
        self.display_trap.__enter__()
        self._plain_transforms = self._transforms()
        self._pristine = dict(self.user_ns)
        self._pristine_hidden = dict(self.user_ns_hidden)

    # What IPython would put on disk or on a terminal.

    def init_ipython_dir(self, ipython_dir):
        """Makes no directory."""

    def init_profile_dir(self, profile_dir):
        """Makes no profile."""

    def init_virtualenv(self):
        """Leaves sys.path alone: the image's interpreter is the environment."""

    def init_events(self):
        self.events = Events(self, available_events)
        self.events.register("pre_execute", self._clear_warning_registry)

    def init_display_formatter(self):
        self.display_formatter = Formatter(parent=self)
        self.configurables.append(self.display_formatter)

    def _tee(self, channel):
        """Keeps no copy of what is printed (IPython would keep all of it for ever)."""
        return _nothing

    def _format_exception_for_storage(self, exception, *args, **kwargs):
        return {"ename": type(exception).__name__, "evalue": "", "traceback": []}

    # Running a cell.

    def begin(self) -> None:
        """Starts an execution: whatever the last one failed at or replaced is forgotten."""
        self.failure = None
        self._cell_loop = self._interrupt = None
        self.figures.begin()
        sys.displayhook = self.displayhook
        sys.excepthook = self.excepthook

    def execute(self, code: str) -> None:
        """Runs one cell; what it raises is reported to the outlet, never raised here."""
        try:
            tree = self._plain_tree(code)
            if tree is not None:
                self._run_plain(code, tree)
                return
        except BaseException as error:
            self.report(error)
            return
        self.execute_fully(code)

    def execute_fully(self, code: str) -> None:
        """Runs one cell through `run_cell`, whatever it looks like."""
        try:
            self.run_cell(code, store_history=True)
            self._report_silent_failure()
        except BaseException as error:
            self.report(error)

    def _report_silent_failure(self) -> None:
        result = self.last_execution_result
        if result is not None and self.failure is None:
            error = result.error_in_exec or result.error_before_exec
            if error is not None:
                self.report(error)

    def _plain_tree(self, code: str) -> ast.Module | None:
        """Returns the parsed cell when IPython would run exactly this text, without a loop and as configured."""
        if (
            self.ast_node_interactivity != "last_expr"
            or self.custom_exceptions
            or self._transforms() != self._plain_transforms
            or (self._logger is not None and self._logger.log_active)
        ):
            return None
        first, _, rest = code.partition("\n")
        if not first.strip() or first[0] in " \t%!?>" or first.startswith("In ["):
            return None
        second = rest.lstrip()
        if second.startswith((">>>", "...", "In [")) and not rest.startswith("\n"):
            return None  # Looks pasted from a prompt, which IPython would strip.
        if not rest and self._may_be_magic(first):
            return None
        cell = code if code.endswith("\n") else code + "\n"
        # Named and kept before it is parsed, because a warning of the parser shows the line.
        name = self.compile.cache(cell, self.execution_count, raw_code=code)
        try:
            tree = self.compile.ast_parse(cell, name)
        except Exception:
            self._forget_source(name)
            return None
        if ("await" in code or "async" in code) and self.should_run_async(code, transformed_cell=code):
            return None
        return tree

    def _may_be_magic(self, line: str) -> bool:
        word = _FIRST_WORD.match(line)
        if word is None:
            return False
        name = word[1]
        return isinstance(self.user_ns.get(name), (IPyAutocall, Macro)) or bool(
            self.automagic and self.find_magic(name)
        )

    def _transforms(self) -> list:
        manager = self.input_transformer_manager
        return [
            manager,
            *manager.cleanup_transforms,
            *manager.line_transforms,
            *manager.token_transformers,
            *self.input_transformers_post,
            *self.prefilter_manager.transformers,
            *self.prefilter_manager.checkers,
        ]

    def _run_plain(self, code: str, tree: ast.Module) -> None:
        """Does what `run_cell` does with a plain cell, without its coroutine, second parse and traps."""
        count = self.execution_count
        callbacks = self.events.callbacks
        cell = code if code.endswith("\n") else code + "\n"
        self.execution_count = count + 1
        info = ExecutionInfo(code, True, False, True, None, **_info_extras(cell))
        result = ExecutionResult(info)
        result.execution_count = count
        try:
            self.events.trigger("pre_execute")
            if callbacks["pre_run_cell"]:
                self.events.trigger("pre_run_cell", info)
            self.history_manager.store_inputs(count, cell, code)
            name = self.compile.get_code_name(code, cell, count)
            if self.ast_transformers:
                tree = self.transform_ast(tree)
            self.displayhook.exec_result = result
            raised = self._run_nodes(tree.body, name, result)
            self.last_execution_succeeded = not raised
            self.last_execution_result = result
            self.displayhook.exec_result = None
        finally:
            if callbacks["post_execute"]:
                self.events.trigger("post_execute")
            if callbacks["post_run_cell"]:
                self.events.trigger("post_run_cell", result)

    def _run_nodes(self, nodes: list[ast.stmt], name: str, result: ExecutionResult) -> bool:
        """Runs statement by statement, the last one with display; says whether one raised."""
        last = nodes[-1] if nodes and isinstance(nodes[-1], ast.Expr) else None
        for node in nodes:
            try:
                if node is last:
                    code = self._compile(ast.Interactive([node]), name, "single")
                else:
                    code = self._compile(ast.Module([node], []), name, "exec")
            except BaseException as error:
                result.error_before_exec = error
                self.report(error)
                return True
            try:
                exec(code, self.user_module.__dict__, self.user_ns)
            except BaseException as error:
                result.error_in_exec = error
                self.report(error)
                return True
        return False

    def _compile(self, tree: ast.AST, name: str, mode: str):
        compiler = self.compile
        before = compiler.flags
        compiler.flags = before | _AWAIT
        try:
            return compiler(tree, name, mode)
        finally:
            # `from __future__` in the code has added its own flag, and that stays.
            compiler.flags &= ~_AWAIT | before

    async def run_code(self, code_obj, result=None, *, async_=False):
        """Runs a code object on IPython's own path; True when it raised."""
        try:
            if async_:
                await eval(code_obj, self.user_global_ns, self.user_ns)
            else:
                exec(code_obj, self.user_global_ns, self.user_ns)
        except BaseException as error:
            if result is not None:
                result.error_in_exec = error
            self.report(error)
            return True
        return False

    def should_run_async(self, raw_cell, *, transformed_cell=None, preprocessing_exc_tuple=None):
        # This compiles the cell once more, and would warn once more.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return super().should_run_async(
                raw_cell, transformed_cell=transformed_cell, preprocessing_exc_tuple=preprocessing_exc_tuple
            )

    def _run_loop(self, coroutine):
        """Runs a cell with top-level `await`."""
        self._cell_loop = loop = CellLoop(get_asyncio_loop())
        try:
            return loop.run(coroutine)
        finally:
            self._cell_loop = None
            self._interrupt = loop.interrupt

    def take_interrupt(self, frame: FrameType | None) -> bool:
        """Takes an interrupt that came at `frame`; says False where it is to be raised there."""
        return self._cell_loop is not None and self._cell_loop.take(frame)

    # Exceptions.

    def report(self, error: BaseException) -> None:
        """Sends the exception of an execution; a second one of the same execution is printed."""
        if isinstance(error, SystemExit) and (error.code is None or error.code in (0, False)):
            return
        interrupt = self._interrupt if self._cell_loop is None else self._cell_loop.interrupt
        if interrupt is not None and isinstance(error, asyncio.CancelledError):
            error = interrupt.with_traceback(error.__traceback__)
        if self.custom_exceptions and isinstance(error, self.custom_exceptions):
            self.CustomTB(type(error), error, error.__traceback__)
        name, message, text = describe(error)
        self._remember(error)
        if self.failure is None:
            self.failure = type(error)
            self.outlet.error(name, message, text)
        else:
            print(text, file=sys.stderr)

    def _remember(self, error: BaseException) -> None:
        """Keeps the exception for `%tb` and `pdb.pm()`, unless it holds the memory that ran out."""
        if isinstance(error, MemoryError):
            import gc
            import traceback

            traceback.clear_frames(error.__traceback__)
            error.__traceback__ = None
            sys.last_type = sys.last_value = sys.last_traceback = sys.last_exc = None
            gc.collect()
            return
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
        sys.last_exc = error

    def showtraceback(
        self, exc_tuple=None, filename=None, tb_offset=None, exception_only=False, running_compiled_code=False
    ):
        """Reports the exception being handled; outside of one (`%tb`) prints the last one again."""
        shown = exc_tuple[1] if exc_tuple else sys.exc_info()[1]
        if isinstance(shown, BaseException):
            self.report(shown)
        elif (last := getattr(sys, "last_value", None)) is not None:
            print(describe(last)[2])
        else:
            print("No traceback available to show.", file=sys.stderr)

    def showsyntaxerror(self, filename=None, running_compiled_code=False):
        self.showtraceback()

    def excepthook(self, etype, value, tb):
        """Prints: a library that calls sys.excepthook handles an error of its own."""
        sys.__excepthook__(etype, value, tb)

    # Magics and help.

    def system(self, cmd):
        """Runs a shell command on the context's own descriptors, so that its output is live."""
        command = self.var_expand(cmd, depth=1)
        shell = os.environ.get("SHELL")
        if not shell or not os.access(shell, os.X_OK):
            shell = "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"
        with subprocess.Popen(command, shell=True, executable=shell) as process:
            code = process.wait()
        self.user_ns["_exit_code"] = code
        if self.system_raise_on_error and code != 0:
            raise subprocess.CalledProcessError(code, command)

    system_raw = system_piped = system

    def enable_gui(self, gui=None):
        """Has no event loop to integrate."""

    def enable_matplotlib(self, gui=None):
        if gui not in (None, "inline", "auto", "agg"):
            print(f"There is no window here for {gui!r}; figures are shown inline.", file=sys.stderr)
        return super().enable_matplotlib("inline")

    def stop_script_loop(self) -> None:
        """Ends the thread that `%%bash` and its like leave behind, unless a background script needs it."""
        magics = self.magics_manager.registry.get("ScriptMagics")
        if magics is None or getattr(magics, "event_loop", None) is None or magics.bg_processes:
            return
        if stop := getattr(magics, "stop_event_loop", None):
            stop()

    # Life in the zygote.

    def forget(self) -> None:
        """Returns to a clean namespace and the first execution."""
        self.user_ns.clear()
        self.user_ns.update(self._pristine)
        self.user_ns_hidden.clear()
        self.user_ns_hidden.update(self._pristine_hidden)
        history = self.history_manager
        history.input_hist_parsed[:] = [""]
        history.input_hist_raw[:] = [""]
        history.output_hist.clear()
        history.output_hist_reprs.clear()
        history.exceptions.clear()
        history.db_input_cache.clear()
        history._i00 = history._i = history._ii = history._iii = ""
        hook = self.displayhook
        hook._ = hook.__ = hook.___ = ""
        for name in list(self.compile._filename_map):
            self._forget_source(name)
        self.compile.reset_compiler_flags()
        self.last_execution_succeeded = True
        self.last_execution_result = None
        self.execution_count = 1
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            vars(sys).pop(name, None)
        self.begin()

    def _forget_source(self, name: str) -> None:
        linecache.cache.pop(name, None)
        self.compile._filename_map.pop(name, None)

    def move(self, cwd: str) -> None:
        """Makes `cwd` where this shell started."""
        self.starting_dir = cwd
        self.home_dir = os.path.expanduser("~")
        self.history_manager.dir_hist[:] = [cwd]


class _Nothing:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False


_nothing = _Nothing()


def _print_page(_shell, data, start=0, screen_lines=0):
    text = data.get("text/plain", "") if isinstance(data, dict) else str(data)
    print("\n".join(text.split("\n")[start:]))


def _info_extras(cell: str) -> dict:
    return {key: value for key, value in (("cell_meta", None), ("transformed_cell", cell)) if key in _INFO_FIELDS}


_INFO_FIELDS = inspect.signature(ExecutionInfo.__init__).parameters


def make_shell() -> Shell:
    """Returns the shell of this process, known to `get_ipython()`."""
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.colors = "nocolor" if IPython.version_info >= (9,) else "NoColor"
    config.InteractiveShell.banner1 = config.InteractiveShell.banner2 = ""
    config.InteractiveShell.cache_size = 1000
    return Shell.instance(config=config)


hide(make_shell.__code__)
