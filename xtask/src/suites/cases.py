"""Runs modules of CPython's own tests and tells the result of each case, as one JSON object per line.

The same file runs inside a sandbox and outside of one. It is not `python -m test`, because that
tells a failure within a subtest as no result at all, and ends a whole module when a test breaks
its redirection of stderr; what it sets up for the tests is set up here too.

usage: cases.py MODULE [--part N/M] [--drop CASE]... [--only CASE]...
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import unittest


class Recorder(unittest.TestResult):
    """Writes a line when a case begins and when it ends."""

    def __init__(self, out):
        super().__init__()
        self.out = out
        self.verdict = None

    def tell(self, **line):
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()

    def startTest(self, test):
        super().startTest(test)
        self.verdict = None
        self.tell(begin=test.id())

    def stopTest(self, test):
        super().stopTest(test)
        result, detail = self.verdict or ("ok", "")
        self.tell(case=test.id(), result=result, detail=detail)

    def judge(self, test, result, detail):
        if not isinstance(test, unittest.TestCase) or not hasattr(test, "_testMethodName"):
            owner = getattr(test, "test_case", None)
            if owner is None:
                # The fixture of a class or a module, which is no case of its own.
                self.tell(case=test.id(), result=result, detail=detail)
                return
        # A failed subtest is not mended by the rest of its case.
        if self.verdict is None or self.verdict[0] != "failed":
            self.verdict = (result, detail)

    def blame(self, test, error):
        text = "".join(self._exc_info_to_string(error, test)).strip()
        self.judge(test, "failed", text[-600:])

    def addError(self, test, error):
        self.blame(test, error)

    def addFailure(self, test, error):
        self.blame(test, error)

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.blame(subtest, error)

    def addSkip(self, test, reason):
        self.judge(test, "skipped", reason)

    def addUnexpectedSuccess(self, test):
        self.judge(test, "failed", "an unexpected success")


def flatten(suite):
    """Returns the cases of a suite in their order."""
    if isinstance(suite, unittest.TestSuite):
        return [case for part in suite for case in flatten(part)]
    return [suite]


def part_of(cases, number, count):
    """Returns every count-th class of the cases, so that a class is set up once."""
    classes = list(dict.fromkeys(type(case) for case in cases))
    mine = set(classes[number - 1 :: count])
    return [case for case in cases if type(case) in mine]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--drop", action="append", default=[])
    parser.add_argument("--only", action="append", default=[])
    arguments = parser.parse_args()
    number, count = map(int, arguments.part.split("/"))

    # The tests and their children may write what they like to 1 and 2; the results go past that.
    out = os.fdopen(os.dup(1), "w")
    place = os.path.realpath(tempfile.mkdtemp(prefix="cases-", dir=os.getcwd()))
    log = os.open(os.path.join(place, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.mkdir(os.path.join(place, "here"))
    os.chdir(os.path.join(place, "here"))

    from test import support

    # What `python -m test` sets: no network beyond loopback, no disk-filling, no sound, no patience.
    support.use_resources = []
    support.verbose = 0
    suite = unittest.defaultTestLoader.loadTestsFromName("test." + arguments.module)
    cases = part_of(flatten(suite), number, count)
    cases = [case for case in cases if case.id() not in arguments.drop]
    if arguments.only:
        cases = [case for case in cases if case.id() in arguments.only]
    recorder = Recorder(out)
    unittest.TestSuite(cases).run(recorder)
    recorder.tell(end=len(cases))
    os.chdir("/")
    shutil.rmtree(place, ignore_errors=True)
    # A thread or child that a test left must not hold the result.
    os._exit(0)


if __name__ == "__main__":
    main()
