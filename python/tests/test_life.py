"""The life of a context: preparation, adoption, its own random numbers, its end."""

import os
import signal
import subprocess
import sys
import unittest

import harness
from harness import Context, reckon_driver


class Preparation(unittest.TestCase):
    def test_it_says_what_it_found(self):
        self.assertEqual(harness.prepared["python"], ".".join(map(str, sys.version_info[:3])))
        for name, version in harness.prepared["packages"].items():
            self.assertEqual(version, sys.modules[name].__version__)

    def test_every_package_but_ipython_is_optional(self):
        code = (
            "import sys, os, threading\nsys.path.insert(0, sys.argv[1])\n"
            "for name in ('numpy', 'pandas', 'matplotlib', 'PIL'): sys.modules[name] = None\n"
            "import reckon_driver\nprint(sorted(reckon_driver.prepare()['packages']))\n"
            "print(threading.active_count(), len(os.listdir('/proc/self/task')), 'sqlite3' in sys.modules)\n"
            "print(sorted(n for n in vars(sys.modules['__main__']) if 'reckon' in n))\n"
        )
        home = os.path.dirname(os.path.abspath(reckon_driver.__file__))
        done = subprocess.run([sys.executable, "-c", code, home], capture_output=True, text=True, check=False)
        self.assertEqual((done.stdout, done.stderr), ("[]\n1 1 False\n[]\n", ""))

    def test_it_leaves_no_trace_in_the_session(self):
        with Context() as context:
            names = context.run("sorted(n for n in globals() if not n.startswith('_'))").result["text/plain"]
            self.assertEqual(names, "['In', 'Out', 'exit', 'get_ipython', 'open', 'quit']")
            self.assertEqual(context.run("In[0], len(In), Out").result["text/plain"][:7], "('', 3,")

    def test_it_writes_nothing_to_disk(self):
        with Context() as context:
            self.assertEqual(context.run("import os; os.listdir()").result, {"text/plain": "[]"})


class Adoption(unittest.TestCase):
    def test_directory_environment_and_seal(self):
        marks = os.pipe()

        def seal():
            os.write(1, f"sealed in {os.getcwd()}\n".encode())

        with Context(seal=seal, env={"WHO": "me"}) as context:
            execution = context.run("import os\nos.getcwd(), os.environ['WHO']")
            self.assertEqual(execution.result, {"text/plain": f"('{context.cwd}', 'me')"})
            self.assertEqual(execution.stdout, f"sealed in {context.cwd}\n")
            context.run("open('mymodule.py', 'w').write('x = 5');")
            self.assertEqual(context.run("import mymodule\nmymodule.x").result, {"text/plain": "5"})
        for fd in marks:
            os.close(fd)

    def test_without_its_walls_it_does_not_run(self):
        def seal():
            raise OSError("no landlock")

        with Context(seal=seal) as context:
            frame = context._frame(harness.Execution())
            self.assertEqual(frame["type"], "fatal")
            self.assertIn("no landlock", frame["message"])
            self.assertEqual(context.reap(), reckon_driver.FATAL)

    def test_without_its_directory_it_does_not_run(self):
        with Context(adopt=False) as context:
            context.send({"type": "adopt", "cwd": "/no/such/directory", "env": {}})
            self.assertEqual(context._frame(harness.Execution())["type"], "fatal")
            self.assertEqual(context.reap(), reckon_driver.FATAL)

    def test_siblings_share_no_randomness(self):
        code = (
            "import random, uuid, tempfile, secrets, multiprocessing, os\n"
            "values = [random.random(), uuid.uuid4(), uuid.uuid1(), next(tempfile._get_candidate_names()),"
            " bytes(multiprocessing.current_process().authkey), secrets.token_hex()]\n"
            "try:\n    import numpy\n    values += [numpy.random.rand(), numpy.random.default_rng().random()]\n"
            "except ImportError:\n    pass\nvalues = list(map(repr, values))\nprint(chr(10).join(values))"
        )
        told = []
        for _ in range(3):
            with Context() as context:
                told.append(context.run(code).stdout.splitlines())
        for values in zip(*told, strict=True):
            self.assertEqual(len(set(values)), 3, values)


class End(unittest.TestCase):
    def test_a_closed_channel_ends_the_driver(self):
        with Context() as context:
            context.run("1")
            self.assertEqual(context.close(), 0)

    def test_a_channel_closed_while_a_display_waits_ends_it_too(self):
        with Context() as context:
            context.start("display(1)")
            self.assertEqual(context.close(), 0)

    def test_the_channel_is_out_of_the_way_of_closerange(self):
        with Context() as context:
            context.run("import os\nos.closerange(3, 100)")
            self.assertEqual(context.run("1").result, {"text/plain": "1"})

    def test_children_do_not_inherit_the_channel(self):
        with Context() as context:
            listed = context.run(
                "import subprocess\nsubprocess.run(['ls', '-l', '/proc/self/fd'], capture_output=True).stdout"
            )
            self.assertNotIn("socket", listed.result["text/plain"])
            code = "import os\npid = os.fork()\nif pid == 0: os.system('ls -l /proc/%d/fd' % os.getpid()); os._exit(0)\nos.waitpid(pid, 0);"
            self.assertNotIn("socket", context.run(code).stdout)

    def test_unknown_and_stray_frames_are_ignored(self):
        with Context() as context:
            context.send({"type": "drained", "n": 999})
            context.send({"type": "something new", "x": 1})
            self.assertEqual(context.run("display(1)\n2").result, {"text/plain": "2"})

    def test_requests_queue_while_a_display_waits(self):
        with Context() as context:
            first = context.start("display(1)\nprint('first')")
            second = context.start("print('second')")
            # What the second prints at once may be drained with the end of the first.
            told = context.wait(first).stdout + context.wait(second).stdout
            self.assertEqual(told, "first\nsecond\n")
            self.assertEqual((first.status, second.status), ("ok", "ok"))


class ProcessorTime(unittest.TestCase):
    def test_the_kernel_ends_what_uses_more_than_it_may(self):
        with Context() as context:
            with self.assertRaises(EOFError):
                context.run("while True: pass", cpu_seconds=1)
            self.assertEqual(context.reap(), -signal.SIGXCPU)

    def test_each_execution_has_its_own_and_others_have_none(self):
        with Context() as context:
            told = "import resource\nresource.getrlimit(resource.RLIMIT_CPU)[0]"
            soft = int(context.run(told, cpu_seconds=5).result["text/plain"])
            self.assertGreaterEqual(soft, 5)
            self.assertEqual(context.run(told).result, {"text/plain": "-1"})


@unittest.skipUnless("numpy" in harness.prepared["packages"], "NumPy is not installed")
class LinearAlgebra(unittest.TestCase):
    def test_threads_appear_only_for_linear_algebra(self):
        with Context() as context:
            count = "import os, numpy as np\nlen(os.listdir('/proc/self/task'))"
            self.assertEqual(context.run(count).result, {"text/plain": "1"})
            context.run("a = np.ones((300, 300)).dot(np.ones((300, 300)))")
            usable = len(os.sched_getaffinity(0))
            expected = 1 if reckon_driver._blas is None else usable
            self.assertEqual(context.run(count).result, {"text/plain": str(expected)})


if __name__ == "__main__":
    unittest.main()
