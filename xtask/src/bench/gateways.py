"""Measures Jupyter Kernel Gateway over HTTP and pydantic-monty in process, and prints the samples as JSON.

Argument: how many cells to run in each.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

CELLS = int(sys.argv[1])
PATIENCE = 60


def milliseconds(begin):
    return (time.perf_counter() - begin) * 1000


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def notebook(path):
    """Writes a notebook whose one cell answers `GET /one`."""
    cell = {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": "# GET /one\nprint(1)",
    }
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document = {
        "cells": [cell],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    with open(path, "w") as file:
        json.dump(document, file)


def ask(connection):
    connection.request("GET", "/one")
    return connection.getresponse().read()


def connect(port, server):
    """Waits until the gateway answers."""
    deadline = time.monotonic() + PATIENCE
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            ask(connection)
            return connection
        except OSError:
            connection.close()
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def gateway():
    samples, failures = [], 0
    with tempfile.TemporaryDirectory() as directory:
        path, port = os.path.join(directory, "one.ipynb"), free_port()
        notebook(path)
        command = [sys.executable, "-m", "jupyter", "kernelgateway", f"--port={port}"]
        command += ["--KernelGatewayApp.api=kernel_gateway.notebook_http"]
        command += [f"--KernelGatewayApp.seed_uri={path}"]
        with open(os.path.join(directory, "log"), "w+") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                connection = connect(port, server)
                for _ in range(CELLS):
                    begin = time.perf_counter()
                    answer = ask(connection)
                    if answer.strip() == b"1":
                        samples.append(milliseconds(begin))
                    else:
                        failures += 1
            finally:
                server.terminate()
                server.wait(PATIENCE)
    return samples, failures


def monty():
    import pydantic_monty

    samples, failures = [], 0
    with pydantic_monty.Monty() as pool:
        for _ in range(CELLS):
            begin = time.perf_counter()
            with pool.checkout() as session:
                value = session.feed_run("x = 20\nx * 2 + 2")
                took = milliseconds(begin)
            if value == 42:
                samples.append(took)
            else:
                failures += 1
    return samples, failures


def entry(name, measure, note):
    try:
        samples, failures = measure()
    except Exception as error:  # Its absence is told, not hidden, and the other is measured.
        samples, failures = [], 1
        note += f"; {type(error).__name__}: {error}"
    return {"name": name, "samples": samples, "failures": failures, "note": note}


print(
    json.dumps(
        {
            "runs": [
                entry(
                    "kernel_gateway_warm_print",
                    gateway,
                    "print(1) in a started kernel, over HTTP",
                ),
                entry(
                    "monty_expression",
                    monty,
                    "x = 20; x * 2 + 2 in a session from its pool: a subset of Python, without NumPy or any other package",
                ),
            ]
        }
    )
)
