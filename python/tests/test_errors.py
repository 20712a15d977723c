"""How exceptions are reported: plain text, user frames only, never broken by the exception itself."""

import unittest

from harness import Context


class Errors(unittest.TestCase):
    def setUp(self):
        self.context = self.enterContext(Context())

    def error(self, code: str) -> dict:
        execution = self.context.run(code)
        self.assertEqual(execution.status, "error")
        self.assertEqual(len(execution.of("error")), 1)
        self.assertEqual((execution.stdout, execution.stderr), ("", ""))
        return execution.error

    def test_the_traceback_shows_user_lines_only(self):
        error = self.error("def f(x):\n    return 1 / x\n\nf(0)")
        self.assertEqual((error["name"], error["message"]), ("ZeroDivisionError", "division by zero"))
        lines = error["traceback"].split("\n")
        self.assertEqual(lines[0], "Traceback (most recent call last):")
        self.assertEqual(
            [line for line in lines if "line " in line],
            [
                "  Cell In[1], line 4, in <module>",
                "  Cell In[1], line 2, in f",
            ],
        )
        self.assertIn("    return 1 / x", lines)
        self.assertEqual(lines[-1], "ZeroDivisionError: division by zero")

    def test_frames_of_earlier_cells_have_their_source(self):
        self.context.run("def g():\n    raise LookupError('here')")
        text = self.error("g()")["traceback"]
        self.assertIn("  Cell In[1], line 2, in g\n    raise LookupError('here')", text)
        self.assertIn("  Cell In[2], line 1, in <module>", text)

    def test_nothing_of_ours_or_ipythons_is_seen(self):
        for code in (
            "await __import__('asyncio').sleep('x')",
            "%run no_such_file.py",
            "%timeit 1/0",
            "%%time\n1/0",
            "import json\njson.loads('{')",
            "input()",
            "get_ipython().system(5)",
            "yield",
            "class A:\n    def _repr_html_(self): 1/0\n    def __repr__(self): 1/0\nA()",
        ):
            with self.subTest(code=code):
                text = self.context.run(code).error["traceback"]
                for internal in ("IPython/", "reckon_", "codeop", "traitlets", "\x1b"):
                    self.assertNotIn(internal, text)

    def test_syntax_errors_are_errors_with_a_caret(self):
        error = self.error("x = 1\ny = = 2")
        self.assertEqual(error["name"], "SyntaxError")
        self.assertEqual(error["message"], "invalid syntax (Cell In[1], line 2)")
        self.assertEqual(
            error["traceback"], "  Cell In[1], line 2\n    y = = 2\n        ^\nSyntaxError: invalid syntax"
        )
        error = self.error("return 5")
        self.assertEqual(
            error["traceback"],
            "  Cell In[2], line 1\n    return 5\n    ^^^^^^^^\nSyntaxError: 'return' outside function",
        )
        self.assertEqual(self.error("if 1:\nx")["name"], "IndentationError")

    def test_chained_exceptions(self):
        text = self.error("try:\n    1 / 0\nexcept Exception as e:\n    raise ValueError('outer') from e")["traceback"]
        self.assertIn("The above exception was the direct cause of the following exception:", text)
        self.assertLess(text.index("ZeroDivisionError"), text.index("ValueError: outer"))

    def test_an_exception_that_cannot_be_printed(self):
        error = self.error("class Bad(Exception):\n    def __str__(self): raise RuntimeError('no')\nraise Bad")
        self.assertEqual(error["name"], "Bad")
        self.assertIn("<exception str() failed>", error["traceback"])
        error = self.error("class Worse(Exception):\n    def __str__(self): return 5\nraise Worse")
        self.assertEqual(error["name"], "Worse")

    def test_huge_messages_and_tracebacks_are_cut(self):
        error = self.error("raise ValueError('x' * 50_000_000)")
        self.assertLess(len(error["message"]), 66 * 1024)
        self.assertLess(len(error["traceback"]), 258 * 1024)
        self.assertIn("characters left out", error["message"])

    def test_deep_recursion(self):
        error = self.error("import sys\nsys.setrecursionlimit(60_000)\ndef r(n): return r(n + 1)\nr(0)")
        self.assertEqual(error["name"], "RecursionError")
        self.assertIn("more times", error["traceback"])
        self.assertEqual(self.context.run("1").result, {"text/plain": "1"})

    def test_surrogates_and_ansi(self):
        error = self.error("raise ValueError('a\\udc80')")
        self.assertEqual(error["message"], "a\\udc80")

    def test_leaving(self):
        for code in ("exit()", "quit()", "import sys; sys.exit()", "raise SystemExit(0)", "exit"):
            with self.subTest(code=code):
                execution = self.context.run(code)
                self.assertEqual((execution.status, execution.error, execution.stderr), ("ok", None, ""))
        self.assertEqual(self.context.run("exit()\nprint('not reached')").stdout, "")
        self.assertEqual(self.error("import sys; sys.exit('reason')")["message"], "reason")
        self.assertEqual(self.error("exit(3)")["name"], "SystemExit")

    def test_base_exceptions(self):
        for name in ("GeneratorExit", "BaseException"):
            self.assertEqual(self.error(f"raise {name}('x')")["name"], name)
        execution = self.context.run("raise KeyboardInterrupt")
        self.assertEqual((execution.status, execution.error["name"]), ("interrupted", "KeyboardInterrupt"))

    def test_memory_error_lets_go_of_the_memory(self):
        self.context.run(
            "import resource, sys\nbase = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
            "resource.setrlimit(resource.RLIMIT_AS, (base + 600 * 2**20, -1))"
        )
        for _ in range(3):
            error = self.error("def f():\n    kept = bytearray(400 * 2**20)\n    return bytearray(400 * 2**20)\nf()")
            self.assertEqual(error["name"], "MemoryError")
        self.assertEqual(self.context.run("len(bytearray(400 * 2**20))").result, {"text/plain": "419430400"})

    def test_a_second_error_of_one_execution_is_printed(self):
        self.context.run("def bad(): raise ValueError('callback')\nget_ipython().events.register('post_execute', bad)")
        execution = self.context.run("1 / 0")
        self.assertEqual([e["name"] for e in execution.of("error")], ["ZeroDivisionError"])
        self.assertIn("ValueError: callback", execution.stderr)

    def test_post_mortem_names(self):
        self.context.run("1 / 0")
        self.assertEqual(
            self.context.run("import sys\ntype(sys.last_value).__name__").result, {"text/plain": "'ZeroDivisionError'"}
        )
        self.assertIn("ZeroDivisionError", self.context.run("%tb").stdout)

    def test_an_exception_that_exits_while_it_is_told_is_an_error(self):
        code = "class Lie(Exception):\n    def __str__(self): raise SystemExit\n    __repr__ = __str__\nraise Lie"
        execution = self.context.run(code)
        self.assertEqual((execution.status, execution.error["name"]), ("error", "Lie"))


if __name__ == "__main__":
    unittest.main()
