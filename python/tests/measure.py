"""Measures the driver: cells inside it on both paths, the round trip over the channel, and the speed of prints.

Run it by hand: `python python/tests/measure.py`. It asserts nothing.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

from harness import Context

INSIDE = """
import time as _t, sys as _s, os as _o
def _measure(cell, runs=2000):
    shell = get_ipython()
    import reckon_driver
    streams, outlet = shell.outlet._streams, shell.outlet
    saved = _o.dup(1); null = _o.open('/dev/null', _o.O_WRONLY); _o.dup2(null, 1)
    shell.outlet = reckon_driver._Mute()
    took = {}
    for name, way in (('short', shell.execute), ('run_cell', shell.execute_fully)):
        times = []
        for _ in range(runs):
            t = _t.perf_counter_ns(); shell.begin(); way(cell); shell.figures.show_open(); streams.rest()
            times.append(_t.perf_counter_ns() - t)
        took[name] = sorted(times)[runs // 2] / 1000
    shell.outlet = outlet
    _o.dup2(saved, 1)
    return took
"""

CELLS = ("x = 1", "print(1)", "1 + 1", "for i in range(3):\n    y = i\ny", "import numpy as np\nnp.arange(3)")


def main() -> None:
    with Context() as context:
        context.run(INSIDE)
        for cell in CELLS:
            took = context.run(f"print('%.1f %.1f' % tuple(_measure({cell!r}).values()))").stdout.split()
            print(f"inside the driver, hot: {cell!r:45} short path {took[0]:>7} us, run_cell {took[1]:>7} us")
        for cell in CELLS[:3]:
            times = []
            for _ in range(1000):
                begin = time.perf_counter_ns()
                context.run(cell)
                times.append((time.perf_counter_ns() - begin) / 1000)
            print(f"round trip with this Python host: {cell!r:12} {statistics.median(times):6.1f} us")
        for name, code, size in (
            ("print(i), 7 bytes a line", "for i in range(100000, 1000000): print(i)", 900_000 * 7),
            ("print of 1 MiB", "s = 'x' * 1048575\nfor i in range(200): print(s)", 200 * 1048576),
        ):
            begin = time.perf_counter()
            context.run(code)
            print(f"{name}: {size / (time.perf_counter() - begin) / 1e6:.1f} MB/s")
    first = []
    for _ in range(20):
        begin = time.perf_counter_ns()
        with Context() as context:
            ready = time.perf_counter_ns()
            context.run("print(1)")
            first.append(((ready - begin) / 1000, (time.perf_counter_ns() - ready) / 1000))
    print(f"fork to ready {statistics.median(a for a, _ in first):.0f} us", end=", ")
    print(f"adopt and first print(1) {statistics.median(b for _, b in first):.0f} us")


if __name__ == "__main__":
    os.nice(0)
    sys.exit(main())
