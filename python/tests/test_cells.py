"""What a cell means and shows: IPython's semantics through the channel."""

import os
import unittest

from harness import Context


class Cells(unittest.TestCase):
    def setUp(self):
        self.context = self.enterContext(Context())

    def run_ok(self, code: str, **extra):
        execution = self.context.run(code, **extra)
        self.assertEqual(execution.status, "ok", execution.error or execution.stderr)
        return execution

    def test_order_of_text_displays_and_the_result_is_exact(self):
        told = self.run_ok(
            "import sys, os\nprint('a')\ndisplay(1)\nprint('b', file=sys.stderr)\ndisplay(2, display_id='d')\n"
            "print('c', end='')\nos.write(1, b'raw\\n')\n'end'"
        ).story
        order = [value if kind != "frame" else value["type"] for kind, value in told]
        self.assertEqual(order, [b"a\n", "display", b"b\n", "display", b"craw\n", "result", "finished"])

    def test_c_stdio_is_flushed_before_a_display(self):
        told = self.run_ok(
            "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.printf(b'from C\\n')\ndisplay(1)\nlibc.puts(b'more');"
        ).story
        self.assertEqual([kind for kind, _ in told], ["stdout", "frame", "stdout", "frame"])

    def test_updating_a_display(self):
        frames = self.run_ok("h = display('one', display_id='x')\nh.update('two')").frames
        self.assertEqual([f["type"] for f in frames], ["display", "update_display", "finished"])
        self.assertEqual([f["display_id"] for f in frames[:2]], ["x", "x"])
        self.assertEqual(frames[1]["data"]["text/plain"], "'two'")

    def test_clear_output(self):
        execution = self.run_ok("from IPython.display import clear_output\nprint(1)\nclear_output(wait=True)")
        self.assertEqual(execution.of("clear_output"), [{"type": "clear_output", "id": "e1", "wait": True}])
        self.assertEqual(execution.stdout, "1\n")

    def test_execution_count_and_ids(self):
        for count in (1, 2):
            execution = self.run_ok("1")
            self.assertEqual(execution.of("result")[0]["execution_count"], count)
            self.assertEqual(execution.finished["execution_count"], count)
            self.assertEqual({f["id"] for f in execution.frames}, {f"e{count}"})

    def test_state_survives_errors_and_exit(self):
        self.run_ok("x = 41")
        self.assertEqual(self.context.run("1 / 0").status, "error")
        self.run_ok("exit()")
        self.assertEqual(self.context.run("import sys; sys.exit(2)").error["name"], "SystemExit")
        self.assertEqual(self.run_ok("x + 1").result, {"text/plain": "42"})

    def test_input_and_getpass_fail_at_once(self):
        for code in ("input('> ')", "import getpass; getpass.getpass()", "import code; input()"):
            error = self.context.run(code).error
            self.assertEqual(error["name"], "EOFError")
            self.assertIn("no interactive input", error["message"])
        self.assertEqual(self.run_ok("import sys; sys.stdin.read()").result, {"text/plain": "''"})
        self.assertEqual(
            self.run_ok("import io; sys.stdin = io.StringIO('7\\n'); int(input('n? '))").result, {"text/plain": "7"}
        )

    def test_debuggers_end_instead_of_waiting(self):
        for code in ("breakpoint()", "import pdb; pdb.set_trace()"):
            self.assertEqual(self.context.run(code).error["name"], "BdbQuit")
        self.context.run("1 / 0")
        self.assertIn(self.context.run("%debug").status, ("ok", "error"))
        self.assertEqual(self.run_ok("1").result, {"text/plain": "1"})

    def test_shell_commands_are_live_and_have_no_terminal(self):
        execution = self.run_ok("!echo out; echo err >&2; tty; cat")
        self.assertIn("out\n", execution.stdout)
        self.assertIn("not a tty", execution.stdout)
        self.assertEqual(execution.stderr, "err\n")
        self.assertEqual(self.run_ok("files = !echo a; echo b\nlist(files)").result, {"text/plain": "['a', 'b']"})
        self.assertEqual(self.run_ok("name = 'v'\n!echo $name {name} {1 + 1}").stdout, "v v 2\n")

    def test_a_script_magic_leaves_no_thread(self):
        self.assertEqual(self.run_ok("%%bash\necho one\necho two").stdout, "one\ntwo\n")
        self.assertEqual(self.context.run("%%bash\nexit 3").error["name"], "CalledProcessError")
        # A thread that was joined is still the kernel's for a moment.
        code = "import os, time\nend = time.monotonic() + 10\nwhile len(os.listdir('/proc/self/task')) > 1 and time.monotonic() < end: pass"
        self.run_ok(code)
        self.assertEqual(self.run_ok("len(os.listdir('/proc/self/task'))").result, {"text/plain": "1"})

    def test_order_of_prints_and_subprocesses(self):
        execution = self.run_ok(
            "import subprocess, os\nfor i in range(200): print('p', i)\nsubprocess.run(['echo', 'first'])\n"
            "for i in range(200): print('q', i)\nos.system('echo second')\nprint('end')"
        )
        lines = execution.stdout.split("\n")
        self.assertEqual((lines[200], lines[401], lines[402]), ("first", "second", "end"))

    def test_magics(self):
        self.assertIn("loop", self.run_ok("%timeit -n 2 -r 1 1 + 1").stdout)
        self.assertIn("Wall time", self.run_ok("%%time\nx = 1").stdout)
        self.run_ok("%matplotlib inline")
        self.assertIn("Docstring", self.run_ok("len?").stdout)
        asked = self.run_ok("%pip --version")  # An image may come without pip; then it says so.
        self.assertRegex(asked.stdout + asked.stderr, r"pip \d|No module named pip")
        self.assertEqual(self.run_ok("%%writefile mod.py\nvalue = 5").stdout, "Writing mod.py\n")
        self.assertEqual(self.run_ok("import mod\nmod.value").result, {"text/plain": "5"})
        self.assertNotIn("__pycache__", os.listdir(self.context.cwd))

    def test_a_script_that_fails_under_run_is_an_error(self):
        self.run_ok("open('s.py', 'w').write('print(1)\\n1/0\\n');")
        execution = self.context.run("%run s.py")
        self.assertEqual((execution.stdout, execution.error["name"]), ("1\n", "ZeroDivisionError"))
        self.assertIn("s.py", execution.error["traceback"])
        self.assertEqual(execution.status, "error")

    def test_await(self):
        code = "import asyncio\nasync def f(n):\n    await asyncio.sleep(0)\n    return n\nawait asyncio.gather(f(1), f(2))"
        self.assertEqual(self.run_ok(code).result, {"text/plain": "[1, 2]"})
        self.assertEqual(self.run_ok("asyncio.run(f(3))").result, {"text/plain": "3"})
        self.assertEqual(self.run_ok("async with asyncio.Lock() as l:\n    print(l)").stdout, "None\n")

    def test_environment_and_directory_of_one_execution(self):
        self.run_ok("import os\nos.mkdir('sub')")
        execution = self.run_ok(
            "os.environ['ONCE'], os.path.basename(os.getcwd())", env={"ONCE": "1"}, cwd=self.context.cwd + "/sub"
        )
        self.assertEqual(execution.result, {"text/plain": "('1', 'sub')"})
        self.assertEqual(
            self.run_ok("'ONCE' in os.environ, os.getcwd()").result, {"text/plain": f"(False, '{self.context.cwd}')"}
        )
        failed = self.context.run("print('not run')", cwd="/no/such/place")
        self.assertEqual((failed.error["name"], failed.stdout), ("FileNotFoundError", ""))

    def test_the_session_is_main(self):
        self.assertEqual(
            self.run_ok("import sys, pickle\nclass C: pass\n__name__, '__file__' in globals(), sys.argv").result,
            {"text/plain": "('__main__', False, [''])"},
        )
        self.assertEqual(
            self.run_ok("sys.modules['__main__'].C is C, sys.path[0]").result, {"text/plain": "(True, '')"}
        )

    def test_multiprocessing_from_a_cell(self):
        code = (
            "import multiprocessing as mp\ndef twice(x):\n    print('child', x, flush=True)\n    return 2 * x\n"
            "with mp.get_context('fork').Pool(2) as pool:\n    r = pool.map(twice, [1, 2])\nr"
        )
        execution = self.run_ok(code)
        self.assertEqual(execution.result, {"text/plain": "[2, 4]"})
        self.assertEqual(sorted(execution.stdout.split("\n")), ["", "child 1", "child 2"])
        self.run_ok("open('work.py', 'w').write('def thrice(x): return 3 * x');")
        code = "import work\nwith mp.get_context('spawn').Pool(1) as pool:\n    r = pool.map(work.thrice, [1])\nr"
        self.assertEqual(self.run_ok(code).result, {"text/plain": "[3]"})

    def test_a_forked_child_speaks_only_text_and_ends_with_its_cell(self):
        execution = self.run_ok(
            "import os\nprint('before', end=' ')\npid = os.fork()\nif pid == 0:\n    display('child')\n    1 / 0\n"
            "_, status = os.waitpid(pid, 0)\nprint('parent', os.waitstatus_to_exitcode(status))"
        )
        self.assertEqual(execution.stdout, "before 'child'\nparent 1\n")
        self.assertIn("ZeroDivisionError", execution.stderr)
        self.assertEqual([f["type"] for f in execution.frames], ["finished"])
        self.assertEqual(self.run_ok("2").result, {"text/plain": "2"})

    def test_threads_display_and_print_late(self):
        execution = self.run_ok(
            "import threading\nt = threading.Thread(target=lambda: (print('thread'), display('shown')))\nt.start()\nt.join()"
        )
        self.assertEqual(execution.stdout, "thread\n")
        self.assertEqual(execution.of("display")[0]["data"], {"text/plain": "'shown'"})
        self.run_ok(
            "go = threading.Event()\nt = threading.Thread(target=lambda: (go.wait(), print('late')))\nt.start()"
        )
        self.assertEqual(self.run_ok("go.set(); t.join()").stdout, "late\n")

    def test_warnings_are_shown_with_their_line(self):
        execution = self.run_ok("import warnings\nfor i in range(3):\n    warnings.warn('careful')")
        self.assertEqual(execution.stderr.count("UserWarning: careful"), 1)
        self.assertIn("warnings.warn('careful')", execution.stderr)

    def test_rich_representations(self):
        bundle = self.run_ok(
            "class A:\n    def _repr_png_(self): return b'\\x89PNG'\n    def _repr_html_(self): return '<b>'\n"
            "    def _repr_json_(self): return {1: float('nan')}\n    def __repr__(self): return 'A\\udc80'\nA()"
        ).result
        self.assertEqual(bundle["image/png"], "iVBORw==")
        self.assertEqual(bundle["application/json"], {"1": None})
        self.assertEqual(bundle["text/plain"], "A\\udc80")
        self.assertEqual(bundle["text/html"], "<b>")

    def test_large_values_are_replaced(self):
        bundle = self.run_ok("'x' * 9_000_000").result
        self.assertLess(len(bundle["text/plain"]), 200_000)
        self.assertIn("8.6 MiB", bundle["text/plain"])

    def test_a_long_session_keeps_no_copy_of_its_output(self):
        self.run_ok("import resource\nprint('x' * 1000)")
        self.run_ok("for i in range(20): print('y' * 1_000_000)")
        grown = self.run_ok("sum(len(str(v)) for v in get_ipython().history_manager.outputs.values())").result
        self.assertEqual(grown, {"text/plain": "0"})


if __name__ == "__main__":
    unittest.main()
