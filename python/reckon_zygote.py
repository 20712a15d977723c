"""The zygote: a pre-warmed interpreter from which contexts are forked.

It imports everything once, then waits for the nursery to hand it the descriptors of a new context; the forked child
enters the room by the code in enter.so and becomes the driver. The zygote itself never sees a byte of a user's.
"""

import os

# Before NumPy is imported: a forked child would lose the threads of a started pool. The driver gives them back.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import ctypes
import gc
import json
import shutil
import socket
import struct
import sys
import traceback

PROCS = 8
LIMITS = 12
TREES = 64
STATES = 8


class Limit(ctypes.Structure):
    _fields_ = [("resource", ctypes.c_uint64), ("value", ctypes.c_uint64)]


class Tree(ctypes.Structure):
    _fields_ = [("path", ctypes.c_char_p), ("rights", ctypes.c_uint64)]


class State(ctypes.Structure):
    _fields_ = [("address", ctypes.c_uint64), ("length", ctypes.c_uint64)]


class Plan(ctypes.Structure):
    """What enter.so needs; the same layout as `Plan` in crates/cage/enter/lib.rs."""

    _fields_ = [
        ("init_pidfd", ctypes.c_int64),
        ("control", ctypes.c_int64),
        ("stdout", ctypes.c_int64),
        ("stderr", ctypes.c_int64),
        ("procs", ctypes.c_int64 * PROCS),
        ("uid", ctypes.c_uint64),
        ("gid", ctypes.c_uint64),
        ("limits", Limit * LIMITS),
        ("limit_count", ctypes.c_uint64),
        ("filter", ctypes.c_char_p),
        ("filter_length", ctypes.c_uint64),
        ("landlock_files", ctypes.c_uint64),
        ("landlock_net", ctypes.c_uint64),
        ("landlock_scoped", ctypes.c_uint64),
        ("trees", Tree * TREES),
        ("tree_count", ctypes.c_uint64),
        ("states", State * STATES),
        ("state_count", ctypes.c_uint64),
        ("left_out", ctypes.c_uint64),
    ]


class Walls:
    """The walls of every context, read once from plan.json, and the entering code."""

    def __init__(self, directory):
        with open(os.path.join(directory, "plan.json"), encoding="utf-8") as file:
            self.description = json.load(file)
        with open(os.path.join(directory, "seccomp.bpf"), "rb") as file:
            self.filter = file.read()
        # PyDLL keeps the interpreter's lock across the calls: the child must come back holding it.
        self.library = library = ctypes.PyDLL(os.path.join(directory, "enter.so"))
        self.fork = library.reckon_fork
        self.fork.restype = ctypes.c_int64
        self.fork.argtypes = [ctypes.c_int64, ctypes.c_int64]
        self.enter = library.reckon_enter
        self.enter.restype = ctypes.c_int64
        self.enter.argtypes = [ctypes.POINTER(Plan)]
        self.seal = library.reckon_seal
        self.seal.restype = ctypes.c_int64
        self.seal.argtypes = [ctypes.c_char_p, ctypes.c_uint64]
        self.plan = self._plan()
        self.plan_pointer = ctypes.pointer(self.plan)

    @property
    def namespaces(self):
        return self.description["namespaces"]

    def _plan(self):
        text = self.description
        plan = Plan(uid=text["uid"], gid=text["gid"])
        for index, (resource, value) in enumerate(text["limits"]):
            plan.limits[index] = Limit(resource, _within_hard_limit(resource, value))
        plan.limit_count = len(text["limits"])
        plan.filter = self.filter
        plan.filter_length = len(self.filter) // 8
        plan.landlock_files = text["landlock_files"]
        plan.landlock_net = text["landlock_net"]
        plan.landlock_scoped = text["landlock_scoped"]
        # The paths must outlive the plan, which holds plain pointers.
        self._paths = [path.encode() for path, _ in text["trees"]]
        for index, (_, rights) in enumerate(text["trees"]):
            plan.trees[index] = Tree(self._paths[index], rights)
        plan.tree_count = len(text["trees"])
        plan.left_out = text["left_out"]
        return plan

    def fill(self, states):
        """Has the bytes at these places filled with random ones in every child."""
        for index, (address, length) in enumerate(states):
            self.plan.states[index] = State(address, length)
        self.plan.state_count = len(states)

    def prepare(self, pidfd, descriptors, limits):
        """Writes down what the next child needs; here, so that it need not do so in pages of its own."""
        plan = self.plan
        plan.init_pidfd = pidfd
        plan.control, plan.stdout, plan.stderr = descriptors[:3]
        procs = descriptors[3:]
        for index in range(PROCS):
            plan.procs[index] = procs[index] if index < len(procs) else -1
        count = len(self.description["limits"])
        for index, (resource, value) in enumerate(limits, count):
            plan.limits[index] = Limit(resource, _within_hard_limit(resource, value))
        plan.limit_count = count + len(limits)

    def seal_here(self):
        """Opens the current directory, the workspace, to landlock and closes everything else."""
        result = self.seal(b".", self.description["workspace_rights"])
        if result != 0:
            raise OSError(-result % 1000, "the workspace could not be sealed")


def _within_hard_limit(resource, value):
    import resource as limits

    hard = limits.getrlimit(resource)[1]
    return value if hard == limits.RLIM_INFINITY else min(value, hard)


def main():
    directory = os.path.dirname(os.path.abspath(__file__))
    own_files = os.environ.pop("RECKON_OWN_FILES")
    channel = socket.socket(fileno=int(os.environ.pop("RECKON_CHANNEL")))
    sys.path.insert(0, directory)
    scratch = use_scratch(own_files)
    is_sealed = os.environ.pop("RECKON_HEAP", "sealed") != "plain"
    try:
        import reckon_driver
        import reckon_heap
        import reckon_random

        hello = reckon_driver.prepare()
        reckon_driver.rehearse()
        walls = Walls(own_files)
        own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if walls.namespaces else -1
        if len(os.listdir("/proc/self/task")) != 1:
            raise RuntimeError("an import has started a thread, which a fork would lose")
    except BaseException as error:  # Whatever it is, the person who starts the server must read it.
        traceback.print_exc()
        channel.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
        sys.exit(1)
    if directory in sys.path:
        sys.path.remove(directory)
    for name in scratch:
        os.environ.pop(name, None)
    states = reckon_random.states()
    walls.fill(states or [])
    # What lives now lives in every child: never look at it again, so that its pages stay shared.
    gc.collect()
    gc.freeze()
    configured = {"state": "plain", "configured": True, "why": "the configuration asks for it"}
    hello["heap"] = reckon_heap.seal(walls.library) if is_sealed else configured
    channel.send(json.dumps({"ready": hello}).encode())
    serve(channel, walls, own_pid_namespace, lambda warm: reckon_driver.serve(3, walls.seal_here, warm, states is not None))


def use_scratch(own_files):
    """Gives imports a place to write: matplotlib refuses a font list in a directory that it cannot write to.

    Returns the variables that contexts do not inherit, since the place does not exist in their rooms.
    """
    place = "/tmp" if own_files == "/run/reckon" else own_files
    fonts = os.environ.pop("RECKON_MPLCONFIGDIR", "")
    os.environ["IPYTHONDIR"] = os.path.join(place, "ipython")
    os.environ["MPLCONFIGDIR"] = os.path.join(place, "matplotlib")
    if os.path.isdir(fonts):
        shutil.copytree(fonts, os.environ["MPLCONFIGDIR"], dirs_exist_ok=True, copy_function=shutil.copyfile)
    return ("IPYTHONDIR", "MPLCONFIGDIR")


def serve(channel, walls, own_pid_namespace, serve_context):
    # Signals are held since the driver was rehearsed: one to the server's whole group is not for the zygote.
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 65536, 16)
        if not message:
            os._exit(0)
        request = json.loads(message)
        pidfd = descriptors[0] if walls.namespaces else -1
        walls.prepare(pidfd, descriptors[1:] if walls.namespaces else descriptors, request["limits"])
        pid = walls.fork(pidfd, own_pid_namespace)
        if pid == 0:
            try:
                become_context(walls)
                serve_context(request["warm"])
            finally:
                # Whatever went wrong, this copy of the zygote never gets back to the zygote's own work.
                os._exit(71)
        for descriptor in descriptors:
            os.close(descriptor)
        answer = {"forked": pid} if pid > 0 else {"failed": f"fork: {os.strerror(-pid)}"}
        channel.send(json.dumps(answer).encode())


def become_context(walls):
    """Enters the room. No user byte has been read before the last wall stands."""
    failed = walls.enter(walls.plan_pointer)
    if failed != 0:
        # The steps are numbered in crates/cage/enter/lib.rs. Which descriptor the socket has depends on the step.
        message = f"enter the room: step {-failed // 1000}: {os.strerror(-failed % 1000)}"
        body = json.dumps({"type": "fatal", "message": message}).encode()
        for descriptor in (walls.plan.control, 3):
            try:
                os.write(descriptor, struct.pack("<I", len(body)) + body)
                break
            except OSError:
                continue
        os._exit(71)


if __name__ == "__main__":
    main()
