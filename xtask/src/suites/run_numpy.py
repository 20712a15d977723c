"""Runs NumPy's own tests, those that it does not call slow, and tells their counts as one JSON object.

pytest is not in the image: `tests.zip` holds it and what it needs.

usage: run_numpy.py PACKAGE...
"""

import json
import os
import sys
import tempfile
import zipfile

packages = sys.argv[1:]
place = tempfile.mkdtemp()
with zipfile.ZipFile(os.path.join(os.path.dirname(os.path.abspath(__file__)), "tests.zip")) as tests:
    tests.extractall(place)
# What lies beside this file is the workspace, not a package.
sys.path[0] = place
os.environ["PYTHONPATH"] = place

import pytest  # noqa: E402


class Counter:
    def __init__(self):
        self.passed = self.skipped = 0
        self.failed = []

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.append(f"{report.nodeid}: {str(report.longrepr)[-400:]}")
        elif report.skipped:
            self.skipped += 1
        elif report.when == "call":
            self.passed += 1

    def pytest_collectreport(self, report):
        if report.failed:
            self.failed.append(f"{report.nodeid}: {str(report.longrepr)[-400:]}")


# The result goes past what the tests write to 1 and 2.
out = os.fdopen(os.dup(1), "w")
counter = Counter()
# These build an extension with meson and a compiler, which are not in the image.
left_out = "not test_mem_policy"
options = ["-p", "no:cacheprovider", "-m", "not slow", "-k", left_out, "-q", "--pyargs", *packages]
code = int(pytest.main(options, plugins=[counter]))
# pytest may have left a line of dots unended.
out.write("\n" + json.dumps({"exit": code, "passed": counter.passed, "skipped": counter.skipped,
                      "failed": counter.failed}) + "\n")
out.flush()
os._exit(0)
