"""The sealed heap: when it is not sealed, and why. That it works is tested through the engine, in rooms."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import types
import unittest

import harness  # noqa: F401 - finds the modules
import reckon_heap


def library(answer):
    """Returns what stands for enter.so: a C function that answers, and changes nothing."""
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.POINTER(reckon_heap.Stretch), ctypes.c_uint64)
    seen = []

    def seal_heap(stretches, count):
        seen.extend((stretches[i].start, stretches[i].length, stretches[i].protection) for i in range(count))
        return answer

    return types.SimpleNamespace(reckon_seal_heap=kind(seal_heap)), seen


class Heap(unittest.TestCase):
    def test_what_is_sealed_is_private_memory_that_was_touched(self):
        lib, stretches = library(0)
        told = reckon_heap.seal(lib)
        self.assertEqual(told["state"], "sealed")
        self.assertEqual(told["bytes"], sum(length for _, length, _ in stretches))
        self.assertTrue(all(start % 4096 == 0 and length % 4096 == 0 for start, length, _ in stretches))
        ordered = sorted(stretches)
        self.assertTrue(all(a[0] + a[1] <= b[0] for a, b in zip(ordered, ordered[1:], strict=False)))

        def is_in(address):
            return any(start <= address < start + length for start, length, _ in stretches)

        self.assertTrue(is_in(id(os.__dict__)), "a dict from an import")
        with open("/proc/self/maps", encoding="utf-8") as maps:
            for line in maps:
                if "[stack]" in line or "[vdso]" in line or "[vvar" in line:
                    start, end = (int(text, 16) for text in line.split()[0].split("-"))
                    self.assertFalse(any(start <= at < end for at, _, _ in stretches), line)

    def test_a_failure_says_where_and_leaves_the_plain_fork(self):
        lib, _ = library(-33_012)
        self.assertEqual(
            reckon_heap.seal(lib), {"state": "plain", "why": "step 33: Cannot allocate memory"}
        )

    def test_an_allocator_that_takes_purged_memory_for_zeros_keeps_the_plain_fork(self):
        # Any library under such a name: what counts is that it is mapped.
        import _ctypes

        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "libjemalloc.so.2")
            shutil.copyfile(_ctypes.__file__, path)
            code = (
                "import sys, ctypes\nsys.path.insert(0, sys.argv[1])\n"
                "import reckon_heap\nctypes.CDLL(sys.argv[2])\nprint(reckon_heap.seal(None))"
            )
            home = os.path.dirname(os.path.abspath(reckon_heap.__file__))
            done = subprocess.run(
                [sys.executable, "-c", code, home, path], capture_output=True, text=True, check=False
            )
        self.assertIn("'state': 'plain'", done.stdout, done.stderr)
        self.assertIn("jemalloc is loaded", done.stdout)


if __name__ == "__main__":
    unittest.main()
