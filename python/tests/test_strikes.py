"""An interrupt at any line of the machinery around user code, IPython's and the loop's included, wedges no context.

CPython runs signal handlers between any two instructions. A `with` statement of a library that is struck on its own
line keeps its lock, and an event loop struck between two of its lines loses what it was about to call; whoever comes
next would wait for ever. Chance finds such a line once in a hundred thousand cells, so these tests go through all.
"""

import os
import signal
import sys
import unittest

from harness import Context, reckon_driver

#: Cells, and how many lines lie between two that are struck.
CELLS = {
    "x = 1": 1,
    "display(1)": 2,
    "1 / 0": 2,
    "await __import__('asyncio').sleep(0)": 2,
    "import asyncio\nawait asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.001))": 5,
    "!true": 3,
}

#: Files whose lines are struck: our own, IPython's shell and history, and the loop. Parsers hold nothing.
MACHINERY = ("reckon_", "/IPython/core/history", "/IPython/core/interactiveshell", "/asyncio/", "/selectors")


def strike_when_told() -> None:
    """In the context: interrupts the cell at the line of the machinery whose number is in AT."""
    signals_type = type(reckon_driver.Signals())
    plain_init, plain_open = signals_type.__init__, signals_type.open
    made = []
    count = 0

    def init(self):
        plain_init(self)
        made.append(self)

    def trace(frame, event, _argument):
        nonlocal count
        if not any(part in frame.f_code.co_filename for part in MACHINERY):
            return None
        at = os.environ.get("AT") if made[0]._armed else None
        if at is not None and event == "line":
            count += 1
            if count == int(at):
                os.environ["STRUCK"] = at
                # As CPython calls a handler: between two lines of the frame that runs.
                made[0]._interrupt(signal.SIGINT, frame)
        return trace

    def open_(self):
        nonlocal count
        if "AT" not in os.environ:
            count = 0  # The first of the cell's two openings; its environment comes after it.
        frame = sys._getframe(1)
        while frame is not None:
            frame.f_trace = trace
            frame = frame.f_back
        sys.settrace(trace)  # A trace function that has raised is forgotten.
        plain_open(self)

    signals_type.__init__ = init
    signals_type.open = open_


class Strikes(unittest.TestCase):
    def test_at_any_line(self):
        for code, stride in CELLS.items():
            with self.subTest(code=code), Context(before=strike_when_told) as context:
                at = struck = 0
                while struck == at:
                    at += stride
                    execution = context.run(code, env={"AT": str(at)})
                    self.assertIn(execution.status, ("ok", "error", "interrupted"), at)
                    struck = int(context.run("print(__import__('os').environ.get('STRUCK', 0))").stdout)
                self.assertGreater(at, 100, "the cell was struck all along its way")
                self.assertEqual(context.run("6 * 7").result, {"text/plain": "42"})


if __name__ == "__main__":
    unittest.main()
