"""Cells that must come out the same on the short path and through IPython's own `run_cell`."""

import importlib.util
import re
import unittest

from harness import Context, reckon_driver

#: Each entry is a session: cells run one after the other in a fresh context.
SESSIONS: list[list[str]] = [
    # Values and the last expression.
    ["1"],
    ["1 + 1"],
    ["x = 1"],
    ["x = 1\nx"],
    ["x = 1\nx;"],
    ["x = 1\nx; # not shown;"],
    ["x = 1; x"],
    ["'a;b'"],
    ["'text'"],
    ["'two\\nlines'"],
    ["b'bytes'"],
    ["None"],
    ["True"],
    ["..."],
    ["1.5"],
    ["float('nan')"],
    ["1j"],
    ["10 ** 30"],
    ["[1, 2, 3]"],
    ["list(range(2000))"],
    ["{'b': 1, 'a': [1, 2]}"],
    ["{3, 1, 2}"],
    ["(1,)"],
    ["object"],
    ["len"],
    ["range(3)"],
    ["[i * i for i in range(5)]"],
    ["{i: i for i in range(3)}"],
    ["lambda: 1"],
    ["f'{1 + 1}'"],
    ["'é ü 漢字 🎉'"],
    ["'\\udc80'"],
    ["x: int = 3\nx"],
    ["x = y = []\nx is y"],
    ["if True:\n    5"],
    ["for i in range(3):\n    i"],
    ["x = 3\nx += 1"],
    ["(y := 5)"],
    ["print(1)\n2"],
    ["print('a', end='')"],
    ["print(1, 2, sep='-')\nprint()"],
    ["# only a comment"],
    ["x = 1  # comment"],
    ["'''doc'''"],
    ["pass"],
    ["", "1"],
    ["   ", "1"],
    ["\n\n", "1"],
    ["\n\nx = 1\nx"],
    ["x = 1\n\n\n"],
    ["  indented = 1\n  indented"],
    ["if True:\n\tx = 1\nx"],
    ["x = (1 +\n     2)\nx"],
    ["x = (5\n% 3)\nx"],
    ["s = '''\n%magic\n!cmd\n?\n'''\ns"],
    ["x = 1\r\nx"],
    ["x = 'form\\x0cfeed'\nx"],
    # Names that the cell leaves.
    ["1", "_"],
    ["1", "2", "_ + __"],
    ["5", "_1 + 1", "Out"],
    ["x = 1", "In"],
    ["x = 1", "y = 2", "_i, _ii, _i1"],
    ["'a'", "_oh"],
    ["_ = 5", "7", "_"],
    ["1;", "Out"],
    ["del x"],
    ["x = 1", "del x", "x"],
    ["import math\nmath.pi"],
    ["from math import *\nround(sin(0))"],
    ["import os.path as p\np.join('a', 'b')"],
    ["__name__"],
    ["'__file__' in globals()"],
    ["sorted(k for k in globals() if not k.startswith('_'))"],
    ["get_ipython().execution_count"],
    ["get_ipython().user_ns is globals()"],
    # Functions and classes.
    ["def f(x):\n    return x + 1\nf(1)"],
    ["def f():\n    '''doc'''\n\nf.__doc__"],
    ["class A:\n    x = 1\n\nA.x"],
    ["class A:\n    def __repr__(self):\n        return 'an A'\nA()"],
    [
        "class A:\n    def _repr_html_(self):\n        return '<b>A</b>'\n    def __repr__(self):\n        return 'A'\nA()"
    ],
    [
        "class A:\n    def _repr_mimebundle_(self, include, exclude):\n        return {'text/plain': 'm', 'text/x': 'y'}\nA()"
    ],
    [
        "class A:\n    def _repr_json_(self):\n        return {'a': [float('nan'), 1]}\n    def __repr__(self): return 'J'\nA()"
    ],
    ["class A:\n    def _repr_latex_(self):\n        return '$x$'\n    def __repr__(self): return 'L'\nA()"],
    ["class A:\n    def _ipython_display_(self):\n        print('displayed')\nA()"],
    ["class A:\n    def __repr__(self):\n        1 / 0\nA()"],
    ["class A:\n    def _repr_html_(self):\n        1 / 0\n    def __repr__(self): return 'A'\nA()"],
    ["class A:\n    def __repr__(self): return 5\nA()"],
    ["class N(int):\n    def __repr__(self): return 'N!'\nN(3)"],
    ["import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\nP(1)"],
    ["import enum\nclass C(enum.Enum):\n    R = 1\nC.R"],
    ["def g():\n    yield 1\nlist(g())"],
    ["def d(f):\n    return f\n@d\ndef h(): return 3\nh()"],
    [
        "import functools\n@functools.lru_cache\ndef fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\nfib(50)"
    ],
    ["import inspect\ndef f():\n    return 42\ninspect.getsource(f)"],
    ["import pickle\nclass K: pass\ntype(pickle.loads(pickle.dumps(K()))) is K"],
    ["match 3:\n    case 3:\n        x = 'three'\nx"],
    ["with open('f.txt', 'w') as f:\n    f.write('hello')\nopen('f.txt').read()"],
    [
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    print(e)\nelse:\n    print('no')\nfinally:\n    print('end')"
    ],
    # Futures stay in force.
    ["from __future__ import annotations\ndef f(x: Nope): pass\nf.__annotations__"],
    ["from __future__ import annotations", "def f(x: Nope): pass", "f.__annotations__"],
    ["x: Nope = 1"],
    # Displays.
    ["display(1)"],
    ["display('a', 'b')"],
    ["print('x')\ndisplay([1])\nprint('y')\n3"],
    ["h = display(1, display_id='one')\nh.update(2)"],
    ["from IPython.display import HTML, Markdown, JSON\ndisplay(HTML('<i>x</i>'), Markdown('*x*'), JSON({'a': 1}))"],
    ["from IPython.display import clear_output\nprint(1)\nclear_output(wait=True)"],
    ["display({'text/plain': 'raw', 'application/json': {'a': float('inf')}}, raw=True)"],
    ["import sys\nsys.displayhook(5)\n6"],
    # Errors.
    ["1 / 0"],
    ["print('before')\n1 / 0\nprint('after')"],
    ["x = 1\nundefined\ny = 2", "x", "y"],
    ["def f():\n    return g()\ndef g():\n    raise ValueError('deep')\nf()"],
    ["raise ValueError"],
    ["raise ValueError('a', 'b')"],
    ["raise KeyError('k')"],
    ["try:\n    1 / 0\nexcept Exception as e:\n    raise RuntimeError('outer') from e"],
    ["try:\n    1 / 0\nexcept Exception:\n    undefined"],
    ["try:\n    1 / 0\nexcept Exception:\n    raise ValueError('alone') from None"],
    ["raise ExceptionGroup('group', [ValueError(1), TypeError('t')])"],
    ["e = ValueError('noted')\ne.add_note('a note')\nraise e"],
    ["class MyError(Exception):\n    pass\nraise MyError('mine')"],
    ["class Bad(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise Bad"],
    ["class Base(BaseException): pass\nraise Base('b')"],
    ["raise KeyboardInterrupt"],
    ["raise GeneratorExit"],
    ["raise SystemExit"],
    ["import sys\nsys.exit(0)\nprint('not reached')"],
    ["import sys\nsys.exit(3)"],
    ["import sys\nsys.exit('message')"],
    ["exit()", "1"],
    ["exit", "1"],
    ["quit()"],
    ["assert 1 == 2, 'unequal'"],
    ["int('x')"],
    ["[][1]"],
    ["{}['k']"],
    ["None.attribute"],
    ["import no_such_module"],
    ["def r(): r()\nr()"],
    ["eval('1 +')"],
    ["exec('x = 1\\n1/0')"],
    ["import json\njson.loads('{')"],
    ["next(iter([]))"],
    ["list(1 / i for i in (1, 0))"],
    ["sorted([1, 'a'])"],
    ["raise MemoryError"],
    ["def f():\n    x = 1\n    def g():\n        return x / 0\n    return g\nf()()"],
    ["(1 +\n 2 +\n undefined)"],
    ["raise 5"],
    ["import warnings\nwarnings.warn('careful')", "import warnings\nwarnings.warn('careful')"],
    ["1 / 0", "import sys\nsys.last_value"],
    # Syntax errors, found by the parser or only by the compiler.
    ["x ="],
    ["print 'x'"],
    ["if True\n    x"],
    ["if True:\nx = 1"],
    ["def f(:\n    pass"],
    ["x = 1\n  y = 2"],
    ["'unterminated"],
    ["(1, 2"],
    ["'''never ended"],
    ["f'{'"],
    ["1 = x"],
    ["x = 1\nreturn x"],
    ["x = 1\nyield x", "x"],
    ["x = 5\nbreak", "x"],
    ["def f():\n    x = 1\n    global x", "1"],
    ["lambda x: yield"],
    ["async def f(): pass\nawait = 1"],
    ["nonlocal x"],
    ["a, b = 1", "a"],
    ["x = 1\n\x00"],
    ["class A:\n    return 1"],
    ["f(a=1, a=2)"],
    ["x is 1", "1"],
    ["'\\d'"],
    # Async, magics and shell syntax (all on IPython's own path, but they must leave the same state).
    ["import asyncio\nawait asyncio.sleep(0)\n'slept'"],
    ["async def f():\n    return 3\nawait f()", "_"],
    ["async def f():\n    1 / 0\nawait f()"],
    ["import asyncio\nasyncio.run(asyncio.sleep(0, 'ran'))"],
    ["[x async for x in y]"],
    ["'await'", "# await\n1"],
    ["async def f(): pass\ntype(f).__name__"],
    ["%pwd", "type(_).__name__"],
    ["!echo shell", "_exit_code"],
    ["x = !echo captured\nx"],
    ["%%capture out\nprint('hidden')", "out.stdout"],
    ["%nope"],
    ["%%nope\nx"],
    ["x = 3\nx?", "1"],
    ["def f(x):\n    '''Doc of f.'''\n\nf?"],
    ["pwd = 'mine'", "pwd"],
    ["%%time?"],
    ["%precision 2", "3.14159"],
    ["%xmode Minimal", "1/0"],
    [">>> x = 1\n>>> x"],
    ["x = 1\n...\nx"],
    ["In [1]: x = 5\n"],
    ["%alias say echo", "%say hello"],
    ["%%bash\necho from bash"],
    ["%%python3 -c 'print(1)'\n"],
    ["get_ipython().run_cell('y = 5\\ny')\ny"],
    ["get_ipython().ast_node_interactivity = 'all'", "1\n2"],
    ["get_ipython().ast_node_interactivity = 'last_expr_or_assign'", "x = 7"],
    ["%pinfo len"],
    ["%who"],
    ["x = 1", "%who", "%whos int"],
    ["%history"],
    ["a = 1", "%reset -f", "a"],
    ["%env RECKON_TEST=1", "import os; os.environ['RECKON_TEST']"],
    # Streams.
    ["import sys\nsys.stderr.write('to stderr\\n')"],
    ["import sys\nprint('x', file=sys.stderr)"],
    ["import io, contextlib\nb = io.StringIO()\nwith contextlib.redirect_stdout(b):\n    print('in')\nb.getvalue()"],
    ["import sys\nsys.stdout.close()", "print('again')"],
    ["import sys\nold = sys.stdout\nsys.stdout = None", "print('again')"],
    ["for i in range(1000):\n    print(i)"],
    ["print('x' * 100_000)"],
    ["input('name? ')"],
    ["import io, sys\nsys.stdin = io.StringIO('line\\n')\ninput()"],
    ["import sys\nsys.stdin.read()"],
    ["import subprocess\nsubprocess.run(['echo', 'hi'], capture_output=True).stdout"],
]

NUMPY = [
    ["import numpy as np\nnp.arange(3)"],
    ["import numpy as np\nnp.float64(1.5)"],
    ["import numpy as np\nnp.zeros((2, 2)) @ np.ones(2)"],
    ["import numpy as np\nnp.array([1]) + np.array([1, 2, 3]) + np.ones((2, 2))"],
    ["import numpy as np\nnp.array([1.0]) / 0"],
]
PANDAS = [
    ["import pandas as pd\npd.DataFrame({'a': [1, 2]})"],
    ["import pandas as pd\npd.Series([1.5, None])"],
    ["import pandas as pd\ndf = pd.DataFrame({'a': range(100)})\ndf", "df.describe()", "df['b']"],
    ["import pandas as pd\npd.Timestamp('2026-01-01')"],
]
FIGURES = [
    ["import matplotlib.pyplot as plt\nplt.plot([1, 2]);"],
    ["import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nfig"],
    ["import matplotlib.pyplot as plt\nplt.plot([1, 2])\n1 / 0", "plt.get_fignums()"],
]

for package, sessions in (("numpy", NUMPY), ("pandas", PANDAS), ("matplotlib", FIGURES)):
    if importlib.util.find_spec(package):
        SESSIONS += sessions

#: Says what the cells left: the text of every variable, by name.
PROBE = """
for _name, _value in sorted(globals().copy().items()):
    if not _name.startswith(('_name', '_value')):
        try:
            print(_name, '=', repr(_value)[:2000])
        except BaseException as _error:
            print(_name, 'has no repr:', type(_error).__name__)
"""

_REPEATED = re.compile(r"repeated \d{3} more")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


def _by_run_cell() -> None:
    reckon_driver._shell.execute = reckon_driver._shell.execute_fully


def _told(context: Context, cells: list[str]) -> list:
    told = []
    for cell in [*cells, PROBE]:
        for kind, value in context.run(cell).story:
            if isinstance(value, bytes):
                value = value.decode()
            text = _ADDRESS.sub("0x0", str(value)).replace(context.cwd, "<cwd>")
            # The two paths stand at different depths themselves.
            text = _REPEATED.sub("repeated many more", text)
            told.append((kind, text))
    return told


class Corpus(unittest.TestCase):
    maxDiff = 4000

    def test_both_paths_tell_the_same(self):
        self.assertGreaterEqual(sum(map(len, SESSIONS)), 250)
        for cells in SESSIONS:
            with self.subTest(cells=cells), Context() as short, Context(before=_by_run_cell) as full:
                self.assertEqual(_told(short, cells), _told(full, cells))

    def test_the_short_path_is_taken(self):
        shell = reckon_driver._shell
        for cell in ("x = 1", "print(1)", "1 / 0", "for i in range(3):\n    print(i)", "'await'", "x = 5 # why?"):
            self.assertIsNotNone(shell._plain_tree(cell), cell)

    def test_the_short_path_is_not_taken(self):
        shell = reckon_driver._shell
        for cell in (
            "%pwd",
            "!ls",
            "x?",
            "pwd",
            "await f()",
            "x =",
            "exit",
            "",
            "  x",
            "\nx",
            "x = 1\n...\n",
            "\ufeffx",
        ):
            self.assertIsNone(shell._plain_tree(cell), cell)

    def test_counts_of_both_kinds(self):
        plain = sum(reckon_driver._shell._plain_tree(cell) is not None for session in SESSIONS for cell in session)
        self.assertGreaterEqual(plain, 120)


if __name__ == "__main__":
    unittest.main()
