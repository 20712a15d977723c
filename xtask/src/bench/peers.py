"""Measures ipykernel through jupyter_client and prints the samples as JSON.

Arguments: how many kernels to start, how many cells to run in one, what to import.
"""

import json
import sys
import time

from jupyter_client.manager import start_new_kernel

STARTS, CELLS, IMPORTS = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
PATIENCE = 60


def milliseconds(begin):
    return (time.perf_counter() - begin) * 1000


def run(client, code):
    """Runs a cell to its reply and its idle message, and returns what it printed."""
    printed = []

    def hook(message):
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    client.execute_interactive(code, output_hook=hook, timeout=PATIENCE)
    return "".join(printed)


def cold(code, expected):
    """Starts kernels one after the other and runs one cell in each."""
    samples, failures = [], 0
    for _ in range(STARTS):
        begin = time.perf_counter()
        manager, client = start_new_kernel(startup_timeout=PATIENCE)
        try:
            if run(client, code) == expected:
                samples.append(milliseconds(begin))
            else:
                failures += 1
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    return samples, failures


def proportional_mb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    raise LookupError("Pss")


def warm():
    """Runs cells in one kernel that has the imports already."""
    samples, failures = [], 0
    manager, client = start_new_kernel(startup_timeout=PATIENCE)
    try:
        run(client, IMPORTS)
        for _ in range(CELLS):
            begin = time.perf_counter()
            if run(client, "print(1)") == "1\n":
                samples.append(milliseconds(begin))
            else:
                failures += 1
        memory = proportional_mb(manager.provisioner.pid)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return samples, failures, memory


def entry(name, samples, failures, note, unit="ms"):
    return {
        "name": name,
        "unit": unit,
        "samples": samples,
        "failures": failures,
        "note": note,
    }


cold_samples, cold_failures = cold("print(1)", "1\n")
full_samples, full_failures = cold(f"{IMPORTS}\nprint(1)", "1\n")
warm_samples, warm_failures, memory = warm()
print(
    json.dumps(
        {
            "runs": [
                entry(
                    "ipykernel_cold_print",
                    cold_samples,
                    cold_failures,
                    "start a kernel, print(1)",
                ),
                entry(
                    "ipykernel_cold_imports_print",
                    full_samples,
                    full_failures,
                    "start a kernel, import NumPy, pandas and pyplot, print(1)",
                ),
                entry(
                    "ipykernel_warm_print",
                    warm_samples,
                    warm_failures,
                    "print(1) in a started kernel, to its reply and idle",
                ),
                entry(
                    "ipykernel_memory",
                    [memory],
                    0,
                    "PSS of one kernel with the imports",
                    "MB",
                ),
            ]
        }
    )
)
