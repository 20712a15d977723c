"""Imports every package of an image and says what it found, as JSON on the last line.

Run by the image's own interpreter with MPLCONFIGDIR inside the image, so that
matplotlib leaves its font list there.
"""

import datetime
import importlib
import importlib.metadata
import json
import os
import sys


def top_level_modules():
    """Names the importable modules of the installed distributions, private ones left out."""
    for module, owners in sorted(importlib.metadata.packages_distributions().items()):
        if module.isidentifier() and not module.startswith("_"):
            yield module, owners[0]


def library_directories():
    """Names the directories of the shared objects and programs this process has mapped."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        paths = {line.split(None, 5)[5].strip() for line in maps if line.count("/") > 1}
    return sorted({os.path.dirname(path) for path in paths if path.startswith("/") and os.path.isfile(path)})


def main():
    failures = {}
    modules = list(top_level_modules())
    for at, (module, owner) in enumerate(modules, start=1):
        try:
            importlib.import_module(module)
        except BaseException as error:  # A module may even call sys.exit.
            failures[owner] = f"import {module}: {type(error).__name__}: {error}"
        print(f"imported {at} of {len(modules)}", flush=True)

    if "matplotlib" in sys.modules:
        import io

        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        pyplot.plot([1, 2], [1, 2])
        pyplot.title("$x^2$")
        pyplot.savefig(io.BytesIO())

    found = {
        "packages": {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()},
        "failures": failures,
        "libraries": library_directories(),
        "now": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
