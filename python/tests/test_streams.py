"""Standard streams: live when sparse, fast when bulk, whole whatever user code does to them."""

import os
import time
import unittest

from harness import Context

#: Computes without pause after a write until the host has seen what was written, or gives up.
LIVE = """
import time, os
def tell(how, lead):
    for i in range(lead):
        print('lead', i)
    how()
    begin = time.monotonic()
    while not os.path.exists('seen'):
        if time.monotonic() - begin > 30:
            raise TimeoutError('nobody saw it')
    os.remove('seen')
"""


class Streams(unittest.TestCase):
    def setUp(self):
        self.context = self.enterContext(Context())

    def test_sparse_output_is_live(self):
        # A busy loop follows each write, and ends when it has been seen: only what left by itself can be.
        self.context.run(LIVE)
        for how, end in (
            ("lambda: print('now')", "now\n"),
            ("lambda: print('now', end='')", "now"),
            ("lambda: sys.stdout.write('now')", "now"),
            ("lambda: print('now', file=sys.stderr)", "now\n"),
        ):
            stream = "stderr" if "stderr" in how else "stdout"

            def mark_when_seen(execution, stream=stream, end=end) -> bool:
                seen = getattr(execution, stream).endswith(end)
                if seen:
                    open(os.path.join(self.context.cwd, "seen"), "x").close()
                return seen

            for lead in (0, 10, 500):
                with self.subTest(how=how, lead=lead):
                    execution = self.context.run(f"import sys\ntell({how}, {lead})", mark_when_seen)
                    self.assertEqual(execution.status, "ok")
                    self.assertTrue(getattr(execution, stream).endswith(end))

    def test_one_print_is_one_write(self):
        # A pipe in packet mode tells the writes apart.
        code = (
            "import os, sys\nr, w = os.pipe2(os.O_DIRECT)\nsaved = os.dup(1)\nos.dup2(w, 1)\n"
            "print('a', 1, 'b')\nprint('c', end='')\nprint('d', 'e', sep='\\n', end='!')\nsys.stdout.write('f')\n"
            "os.dup2(saved, 1)\n[os.read(r, 100) for _ in range(4)]"
        )
        self.assertEqual(self.context.run(code).result, {"text/plain": "[b'a 1 b\\n', b'c', b'd\\ne!', b'f']"})

    def test_bulk_output_is_complete_and_in_order(self):
        execution = self.context.run("for i in range(300_000): print(i)")
        self.assertEqual(execution.stdout, "".join(f"{i}\n" for i in range(300_000)))

    def test_bulk_output_costs_no_python_call(self):
        code = "import sys, time\nfor i in range(1000): print(i)\nbursting = 'write' not in vars(sys.stdout)\nbursting"
        self.assertEqual(self.context.run(code).result, {"text/plain": "True"})
        code = "import os\nlen(os.listdir('/proc/self/task')), 'write' in vars(sys.stdout)"
        self.assertEqual(self.context.run(code).result, {"text/plain": "(1, True)"})

    def test_user_code_sees_no_thread_of_ours(self):
        code = (
            "import threading, os, warnings\nwarnings.simplefilter('error')\nfor i in range(5000): print(i)\n"
            "n = threading.active_count(), len(threading.enumerate())\npid = os.fork()\n"
            "if pid == 0: os._exit(len(os.listdir('/proc/self/task')))\n"
            "n, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])"
        )
        self.assertEqual(self.context.run(code).result, {"text/plain": "((1, 1), 1)"})

    def test_nothing_is_printed_twice_around_a_fork(self):
        code = (
            "import os, sys\nfor i in range(3000): print(i)\nsys.stdout.flush()\nsys.stdout.buffer.write(b'raw ')\n"
            "for n in range(3):\n    pid = os.fork()\n    if pid == 0:\n        print('child', n)\n"
            "        sys.stdout.flush()\n        os._exit(0)\n    os.waitpid(pid, 0);\nprint('end')"
        )
        expected = "".join(f"{i}\n" for i in range(3000)) + "raw child 0\nchild 1\nchild 2\nend\n"
        self.assertEqual(self.context.run(code).stdout, expected)

    def test_they_look_like_the_real_ones(self):
        code = (
            "import sys, io\n[(s.fileno(), s.encoding, s.isatty(), s.closed, s.line_buffering, isinstance(s, io.TextIOWrapper),"
            " s is getattr(sys, '__' + n + '__')) for n, s in (('stdout', sys.stdout), ('stderr', sys.stderr))]"
        )
        expected = "[(1, 'utf-8', False, False, False, True, True),\n (2, 'utf-8', False, False, False, True, True)]"
        self.assertEqual(self.context.run(code).result, {"text/plain": expected})
        self.assertEqual(self.context.run("sys.stdin.fileno(), sys.stdin.read()").result, {"text/plain": "(0, '')"})
        self.assertEqual(self.context.run("sys.stdout.write('abc')").result, {"text/plain": "3"})
        self.assertEqual(self.context.run("sys.stdout.write(5)").error["name"], "TypeError")

    def test_the_buffer_and_reconfigure(self):
        execution = self.context.run(
            "import sys\nprint('a')\nsys.stdout.flush()\nsys.stdout.buffer.write(b'b\\n')\n"
            "sys.stdout.reconfigure(line_buffering=True)\nprint('c')\nsys.stdout.writelines(['d\\n', 'e\\n'])"
        )
        self.assertEqual(execution.stdout, "a\nb\nc\nd\ne\n")

    def test_surrogates_do_not_break_a_print(self):
        self.assertEqual(self.context.run("print('a\\udc80b')").stdout, "a\\udc80b\n")

    def test_streams_that_user_code_closes_come_back(self):
        for code in (
            "import sys; sys.stdout.close()",
            "import sys; sys.stderr.close(); sys.stdin.close()",
            "import sys; sys.stdout = sys.stderr = sys.stdin = None",
            "import sys; sys.stdout = open('/dev/null', 'w'); sys.stdout.close()",
        ):
            with self.subTest(code=code):
                self.context.run(code)
                execution = self.context.run(
                    "import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.stdin.read()"
                )
                self.assertEqual((execution.stdout, execution.stderr, execution.status), ("out\n", "err\n", "ok"))

    def test_a_replaced_stream_stays(self):
        self.context.run("import sys, io\nreal, sys.stdout = sys.stdout, io.StringIO()\nprint('kept')")
        execution = self.context.run("text = sys.stdout.getvalue()\nsys.stdout = real\nprint(text, end='')")
        self.assertEqual(execution.stdout, "kept\n")

    def test_a_write_that_the_user_put_there_stays(self):
        self.context.run(
            "import sys\nreal, seen = sys.stdout.write, []\n"
            "def write(text):\n    seen.append(text)\n    return real(text.upper())\nsys.stdout.write = write"
        )
        execution = self.context.run("for i in range(200): print('x', i)\nlen(seen)")
        self.assertEqual(execution.stdout, "".join(f"X {i}\n" for i in range(200)))
        self.assertEqual(execution.result, {"text/plain": "800"})
        self.context.run("del sys.stdout.write")
        self.assertEqual(self.context.run("print('y')").stdout, "y\n")

    def test_a_full_non_blocking_pipe_is_waited_for(self):
        self.context.run("import os; os.set_blocking(1, False)")
        code = "for i in range(30): print('z' * 1_000_000)"
        execution = self.context.run(code)
        self.assertEqual((execution.status, len(execution.stdout)), ("ok", 30 * 1_000_001))

    def test_many_threads_print_whole_lines_of_text(self):
        code = (
            "import threading\ndef say(n):\n    for i in range(2000): sys.stdout.write(f'{n} {i}\\n')\n"
            "import sys\nts = [threading.Thread(target=say, args=(n,)) for n in range(8)]\n"
            "[t.start() for t in ts]; [t.join() for t in ts];"
        )
        lines = self.context.run(code).stdout.splitlines()
        self.assertEqual(sorted(lines), sorted(f"{n} {i}" for n in range(8) for i in range(2000)))

    def test_no_new_thread_means_flushed_writes(self):
        code = (
            "import _thread\nreal = _thread.start_new_thread\n"
            'def refuse(*args): raise RuntimeError("can\'t start new thread")\n_thread.start_new_thread = refuse\n'
            "for i in range(1000): print(i)\n_thread.start_new_thread = real"
        )
        execution = self.context.run(code)
        self.assertEqual((execution.status, execution.stdout), ("ok", "".join(f"{i}\n" for i in range(1000))))

    @unittest.skipUnless(os.path.exists("/proc/self/io"), "this kernel does not count system calls")
    def test_bulk_is_buffered(self):
        # What makes the difference between 3 MB/s and 30.
        code = (
            "def writes(): return int(open('/proc/self/io').read().split('syscw:')[1].split()[0])\n"
            "before = writes()\nfor i in range(300_000): print(i)\nwrites() - before"
        )
        self.assertLess(int(self.context.run(code).result["text/plain"]), 30_000)


if __name__ == "__main__":
    unittest.main()
