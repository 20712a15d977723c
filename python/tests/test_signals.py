"""Interrupts and other signals: they reach user code and never harm the driver or a frame."""

import random
import threading
import time
import unittest

from harness import PATIENCE, Context


def interrupt_at(context: Context, mark: str = "go\n", asleep: bool = False):
    """Returns a `meanwhile` that interrupts once the code has printed `mark` (and then sleeps in the kernel).

    It goes on every half second: between its last look for signals and a system call CPython hears none.
    """
    due = 0.0

    def meanwhile(execution) -> bool:
        nonlocal due
        if mark not in execution.stdout or time.monotonic() < due:
            return False
        while asleep and context.state() != "S":
            pass
        due = time.monotonic() + 0.5
        context.interrupt()
        return False

    return meanwhile


class Interrupts(unittest.TestCase):
    def setUp(self):
        self.context = self.enterContext(Context())

    def assert_interrupted(self, execution):
        self.assertEqual(execution.status, "interrupted")
        self.assertEqual(execution.error["name"], "KeyboardInterrupt")
        self.assertEqual(self.context.run("1 + 1").result, {"text/plain": "2"})

    def test_what_an_interrupt_stops(self):
        for code in (
            "while True: pass",
            "import time\ntime.sleep(1000)",
            "import subprocess\nsubprocess.run(['sleep', '1000'])",
            "import threading\nthreading.Event().wait()",
            "import asyncio\nawait asyncio.sleep(1000)",
            "import asyncio\nasync def f():\n    while True: await asyncio.sleep(0)\nawait f()",
            "import asyncio\nasyncio.run(asyncio.sleep(1000))",
            "import os\nos.read(os.pipe()[0], 1)",
            "while True: print('x' * 50)",
            "while True: display(1)",
            "import re\nwhile True: re.compile(str(id(object())))",
            "%timeit -n 1000000000 pass",
        ):
            with self.subTest(code=code):
                self.assert_interrupted(self.context.run("print('go')\n" + code, interrupt_at(self.context)))

    def test_a_shell_command_is_interrupted(self):
        execution = self.context.run("print('go')\n!exec sleep 1000", interrupt_at(self.context))
        self.assert_interrupted(execution)

    def test_a_script_magic_is_interrupted(self):
        execution = self.context.run("%%bash\necho go\nsleep 1000", interrupt_at(self.context))
        self.assertEqual((execution.status, execution.error["name"]), ("interrupted", "CalledProcessError"))
        self.assertEqual(self.context.run("1 + 1").result, {"text/plain": "2"})

    def test_state_survives(self):
        self.context.run("x = 0")
        self.assert_interrupted(self.context.run("x = 1\nprint('go')\nwhile True: x += 1", interrupt_at(self.context)))
        self.assertEqual(self.context.run("x > 0").result, {"text/plain": "True"})

    def test_a_cancelled_coroutine_does_not_go_on(self):
        code = (
            "import asyncio\nprint('go')\nseen = []\ntry:\n    await asyncio.sleep(1000)\nfinally:\n    seen.append(1)"
        )
        self.assert_interrupted(self.context.run(code, interrupt_at(self.context, asleep=True)))
        self.assertEqual(self.context.run("await asyncio.sleep(0)\nseen").result, {"text/plain": "[1]"})

    def test_the_traceback_says_where(self):
        code = "import time\ndef nap():\n    print('go')\n    time.sleep(1000)\nnap()"
        text = self.context.run(code, interrupt_at(self.context, asleep=True)).error["traceback"]
        # Newer Pythons underline the call.
        self.assertRegex(text, r"line 4, in nap\n    time.sleep\(1000\)\n(.*\^\n)?KeyboardInterrupt$")
        self.assertNotIn("reckon_", text)

    def test_user_code_may_catch_it(self):
        code = "import time\nprint('go')\ntry:\n    time.sleep(1000)\nexcept KeyboardInterrupt:\n    print('caught')"
        execution = self.context.run(code, interrupt_at(self.context, asleep=True))
        self.assertEqual((execution.status, execution.stdout), ("ok", "go\ncaught\n"))

    def test_between_executions_it_is_ignored(self):
        for _ in range(5):
            self.context.interrupt()
            self.assertIn(self.context.run("1").status, ("ok", "interrupted"))
        self.assertEqual(self.context.run("7").result, {"text/plain": "7"})

    def test_a_handler_of_the_users_lasts_one_execution(self):
        code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nsignal.getsignal(2)"
        self.context.run(code)
        code = "print('go')\nwhile True: pass"
        self.assert_interrupted(self.context.run(code, interrupt_at(self.context)))
        self.assertEqual(
            self.context.run("signal.getsignal(2) is signal.default_int_handler").result, {"text/plain": "True"}
        )

    def test_races_with_the_end_of_a_cell_and_with_frames(self):
        chance = random.Random(5)
        for code in (
            "x = 1",
            "display(1)\ndisplay(2)",
            "1 / 0",
            "for i in range(200): print(i)",
            "await __import__('asyncio').sleep(0)",
        ):
            for _ in range(60):
                execution = self.context.start(code)
                begin = time.perf_counter()
                pause = chance.random() * 0.002
                while time.perf_counter() - begin < pause:
                    pass
                self.context.interrupt()
                self.context.wait(execution)
                self.assertIn(execution.status, ("ok", "error", "interrupted"))
        self.assertEqual(self.context.run("6 * 7").result, {"text/plain": "42"})

    def test_a_storm_of_interrupts(self):
        stop = threading.Event()

        def storm():
            while not stop.wait(0.0001):
                self.context.interrupt()

        sender = threading.Thread(target=storm)
        sender.start()
        try:
            for _ in range(200):
                execution = self.context.run("for i in range(20): display(i)\nprint('done')")
                self.assertIn(execution.status, ("ok", "interrupted"))
        finally:
            stop.set()
            sender.join()
        self.assertEqual(self.context.run("6 * 7").result, {"text/plain": "42"})

    def test_with_threads_of_the_users(self):
        self.context.run(
            "import threading, time\nt = threading.Thread(target=time.sleep, args=(1000,), daemon=True)\nt.start()"
        )
        code = "print('go')\nwhile True: display(1)"
        self.assert_interrupted(self.context.run(code, interrupt_at(self.context)))


class OtherSignals(unittest.TestCase):
    def setUp(self):
        self.context = self.enterContext(Context())

    def test_an_alarm_raises_in_user_code(self):
        code = (
            "import signal, time\ndef late(*_): raise TimeoutError('too slow')\nsignal.signal(signal.SIGALRM, late)\n"
            "signal.setitimer(signal.ITIMER_REAL, 0.02)\nwhile True: display(1)"
        )
        for _ in range(5):
            self.assertEqual(self.context.run(code).error["name"], "TimeoutError")

    def test_an_alarm_after_its_cell_does_not_kill_the_driver(self):
        self.context.run(
            "import signal, time\nrang = []\ndef late(*_):\n    rang.append(1)\n    raise TimeoutError('too slow')\n"
            "signal.signal(signal.SIGALRM, late)\nsignal.setitimer(signal.ITIMER_REAL, 0.001, 0.01)"
        )
        deadline = time.monotonic() + PATIENCE
        # Any of these cells may be the one that the alarm hits.
        while self.context.run("len(rang) > 20").result != {"text/plain": "True"}:
            self.assertLess(time.monotonic(), deadline)
        while self.context.run("signal.setitimer(signal.ITIMER_REAL, 0)").status != "ok":
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(self.context.run("6 * 7").result, {"text/plain": "42"})

    def test_subprocesses_start_with_an_ordinary_mask(self):
        code = "import subprocess\nsubprocess.run(['grep', '-E', 'Sig(Blk|Ign)', '/proc/self/status'], capture_output=True, text=True).stdout"
        lines = self.context.run(code).result["text/plain"]
        self.assertIn("SigBlk:\\t0000000000000000", lines)

    def test_terminate_ends_the_context(self):
        import os
        import signal

        self.context.run("1")
        os.kill(self.context.pid, signal.SIGTERM)
        self.assertEqual(self.context.reap(), -signal.SIGTERM)


if __name__ == "__main__":
    unittest.main()
