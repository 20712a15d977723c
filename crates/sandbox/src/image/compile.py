"""Compiles an image's packages to bytecode: compile.py SITE_PACKAGES BUILT_AT FINAL_AT.

Prints `compiled N of M` as it goes. The bytecode is `unchecked-hash`: it stays
valid when the image is copied and times change, and the image never changes.
"""

import compileall
import os
import py_compile
import sys
from concurrent.futures import ProcessPoolExecutor

STEP = 50


def sources(root):
    """Yields every module but the packages' own test suites, which nobody imports."""
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name not in ("tests", "__pycache__")]
        for file in files:
            if file.endswith(".py"):
                yield os.path.join(directory, file)


def compile_some(job):
    files, built_at, final_at = job
    for file in files:
        # A file that does not compile (a template, a sample for another
        # version) is the package's affair: importing it would fail as well.
        compileall.compile_file(
            file,
            stripdir=built_at,
            prependdir=final_at,
            quiet=2,
            force=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    return len(files)


def main():
    root, built_at, final_at = sys.argv[1:4]
    files = sorted(sources(root))
    jobs = [(files[at : at + STEP], built_at, final_at) for at in range(0, len(files), STEP)]
    done = 0
    with ProcessPoolExecutor() as pool:
        for count in pool.map(compile_some, jobs):
            done += count
            print(f"compiled {done} of {len(files)}", flush=True)


if __name__ == "__main__":
    main()
