"""Runs under a filter that it loads first: `inside.py PROGRAM refused|benign|foreign`, or without it: `inside.py PROGRAM unfiltered`.

Answers with one line per check. It uses the standard library only and takes its system call numbers from outside.
"""

import asyncio
import concurrent.futures
import ctypes
import errno
import faulthandler
import mmap
import multiprocessing
import multiprocessing.shared_memory
import os
import pty
import resource
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import termios
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def load(path):
    """Loads the filter and returns how many microseconds the kernel took for it."""
    with open(path, "rb") as file:
        instructions = file.read()
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    program = Program(len(instructions) // 8, ctypes.addressof(buffer))
    if LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    start = time.perf_counter_ns()
    answer = LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program))
    took = (time.perf_counter_ns() - start) / 1000
    if answer != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")
    with open("/proc/self/status") as status:
        if "\nSeccomp:\t2\n" not in status.read():
            raise RuntimeError("the filter is not in force")
    return took


def call(number, *arguments):
    """Makes a system call; returns the name of its error, or `ok`."""
    ctypes.set_errno(0)
    answer = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_ulong(argument) for argument in arguments))
    if answer != -1:
        return "ok"
    return errno.errorcode.get(ctypes.get_errno(), str(ctypes.get_errno()))


def answer_calls():
    for line in sys.stdin:
        number, *arguments = (int(word, 0) for word in line.split())
        print(call(number, *arguments), flush=True)


def enter_by_foreign_gate():
    """Calls the kernel through `int 0x80` (x86-64 only): the i386 `getpid`."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()


def run(*command, **options):
    options.setdefault("timeout", 120)
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout.strip()


def square(number):
    return number * number


def add_from_queue(queue, total):
    with total.get_lock():
        total.value += queue.get(timeout=60)


# The benign control: each function is what honest programs do.


def check_threads():
    condition, turns = threading.Condition(), []

    def take_turn(turn):
        with condition:
            condition.wait_for(lambda: len(turns) == turn, timeout=60)
            turns.append(turn)
            condition.notify_all()

    threads = [threading.Thread(target=take_turn, args=(turn,)) for turn in reversed(range(8))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert turns == list(range(8))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(square, range(100))) == [n * n for n in range(100)]


def check_subprocess():
    assert run("/bin/sh", "-c", "echo a | cat; ls / >/dev/null; nice -n 1 true") == "a"
    assert subprocess.run(["/bin/sh", "-c", "exit 3"], start_new_session=True, process_group=None).returncode == 3
    assert os.system("true") == 0
    pid = os.posix_spawn("/bin/true", ["true"], {})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def check_coreutils():
    with open("one", "wb") as file:
        file.write(os.urandom(300_000))
    run("/bin/sh", "-c", "cat one >two && cp one three && cp --reflink=auto -a one four && mv four five")
    run("/bin/sh", "-c", "cmp one two && cmp one three && cmp one five && cat one | cat | cmp - one")
    run("/bin/sh", "-c", "ln -s one six && stat six && du -s . && df . && touch -d 2001-01-01 one && chmod 600 one")
    run("/bin/sh", "-c", "tar cf seven.tar one two && tar tf seven.tar && timeout 60 sort one >/dev/null && rm two")
    run("/bin/sh", "-c", "mkfifo pipe && (echo through >pipe &) && grep -q through pipe && id && uname -a && date")


def multiprocess(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        assert pool.map(square, range(20)) == [n * n for n in range(20)]
    queue, total = context.Queue(), context.Value("i", 0)
    children = [context.Process(target=add_from_queue, args=(queue, total)) for _ in range(2)]
    for child in children:
        child.start()
    queue.put(40)
    queue.put(2)
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert total.value == 42


def check_multiprocessing_fork():
    multiprocess("fork")


def check_multiprocessing_spawn():
    multiprocess("spawn")


def check_multiprocessing_forkserver():
    multiprocess("forkserver")


def check_shared_memory():
    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=1 << 20)
    memory.buf[:3] = b"abc"
    again = multiprocessing.shared_memory.SharedMemory(memory.name)
    assert bytes(again.buf[:3]) == b"abc"
    again.close()
    memory.close()
    memory.unlink()
    with open(f"/dev/shm/reckon-{os.getpid()}", "wb") as file:
        os.unlink(file.name)
        file.write(b"x")


def check_asyncio():
    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def ask():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        writer.close()
        server.close()
        child = await asyncio.create_subprocess_exec("/bin/echo", "child", stdout=asyncio.subprocess.PIPE)
        assert (await child.communicate())[0] == b"child\n"
        assert await asyncio.to_thread(square, 7) == 49
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: None)
        with_timeout = asyncio.wait_for(asyncio.sleep(60), 0.01)
        try:
            await with_timeout
        except asyncio.TimeoutError:
            return
        raise AssertionError("no time-out")

    asyncio.run(ask())


def check_sqlite():
    connection = sqlite3.connect("data.db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (n INTEGER)")
    connection.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(1000)])
    connection.commit()
    assert connection.execute("SELECT sum(n) FROM t").fetchone() == (499500,)
    connection.execute("VACUUM")
    connection.close()


def check_mmap():
    with open("mapped", "w+b") as file:
        file.truncate(1 << 16)
        with mmap.mmap(file.fileno(), 0) as mapped:
            mapped[:4] = b"abcd"
            mapped.flush()
            mapped.madvise(mmap.MADV_DONTNEED)
            mapped.resize(1 << 17)
        file.seek(0)
        assert file.read(4) == b"abcd"
    with mmap.mmap(-1, 1 << 20) as mapped:
        mapped[:4] = b"abcd"
    descriptor = os.memfd_create("memory", os.MFD_ALLOW_SEALING)
    os.write(descriptor, b"sealed")
    os.close(descriptor)


def check_tcp_and_udp_on_loopback():
    families = [(socket.AF_INET, "127.0.0.1")]
    if os.path.exists("/proc/sys/net/ipv6/conf/lo") and open("/proc/sys/net/ipv6/conf/lo/disable_ipv6").read() == "0\n":
        families.append((socket.AF_INET6, "::1"))
    for family, address in families:
        with socket.create_server((address, 0), family=family, reuse_port=True) as server:
            with socket.create_connection(server.getsockname()[:2], timeout=60) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                peer, _ = server.accept()
                with peer:
                    peer.sendall(b"x" * 1000)
                    peer.shutdown(socket.SHUT_WR)
                    assert len(client.makefile("rb").read()) == 1000
        with socket.socket(family, socket.SOCK_DGRAM) as receiver, socket.socket(family, socket.SOCK_DGRAM) as sender:
            receiver.bind((address, 0))
            sender.sendto(b"datagram", receiver.getsockname())
            assert receiver.recv(100) == b"datagram"


def check_name_lookup():
    assert socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    socket.gethostname()
    try:
        socket.getaddrinfo("host.invalid", 80)
    except socket.gaierror:
        pass


def check_unix_sockets():
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("socket")
        server.listen()
        client.connect("socket")
        peer, _ = server.accept()
        with peer:
            socket.send_fds(client, [b"fd"], [0])
            _, descriptors, _, _ = socket.recv_fds(peer, 10, 1)
            os.close(descriptors[0])
            assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        one.send(b"packet")
        assert other.recv(100) == b"packet"


def check_terminals():
    leader, follower = pty.openpty()
    assert os.isatty(follower) and os.ttyname(follower)
    termios.tcsetattr(follower, termios.TCSAFLUSH, termios.tcgetattr(follower))
    termios.tcsetwinsize(follower, (24, 80)) if hasattr(termios, "tcsetwinsize") else None
    os.close(leader)
    os.close(follower)
    pid, leader = pty.fork()
    if pid == 0:
        os.execv("/bin/sh", ["sh", "-c", "stty size; test -t 0 && echo terminal"])
    output = b""
    try:
        while chunk := os.read(leader, 1000):
            output += chunk
    except OSError as end:
        assert end.errno == errno.EIO
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 and b"terminal" in output, output


def check_bash_job_control():
    leader, follower = pty.openpty()
    shell = subprocess.Popen(["bash", "-i"], stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
    os.close(follower)
    os.write(leader, b"sleep 60 & kill %1; wait; echo do''ne; exit\n")
    output = b""
    while b"done" not in output and select.select([leader], [], [], 60)[0]:
        output += os.read(leader, 1000)
    assert b"done" in output, output
    shell.wait(60)


def check_signals():
    seen = []
    signal.signal(signal.SIGALRM, lambda *_: seen.append("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    while not seen:
        signal.pause() if select.select([], [], [], 1)[0] else None
    signal.signal(signal.SIGUSR1, lambda *_: seen.append("user"))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    assert seen.count("user") == 2
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    os.kill(os.getpid(), signal.SIGUSR2)
    assert signal.sigtimedwait({signal.SIGUSR2}, 60)
    child = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    descriptor = os.pidfd_open(child)
    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    assert select.select([descriptor], [], [], 60)[0]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    faulthandler.enable()
    faulthandler.disable()


def check_files():
    with tempfile.TemporaryDirectory() as directory, tempfile.NamedTemporaryFile() as named:
        named.write(b"x" * 100_000)
        named.flush()
        copy = os.path.join(directory, "copy")
        with open(copy, "wb") as file:
            assert os.sendfile(file.fileno(), named.fileno(), 0, 100_000) == 100_000
        with open(named.name, "rb") as source, open(copy, "wb") as file:
            assert os.copy_file_range(source.fileno(), file.fileno(), 100_000) == 100_000
        shutil.copy2(copy, copy + "2")
        shutil.copytree(directory, "tree")
        shutil.move("tree", "moved")
        shutil.make_archive("archive", "zip", "moved")
        shutil.rmtree("moved")
        os.mkfifo(os.path.join(directory, "fifo"))
        os.link(copy, copy + "3")
        os.symlink(copy, copy + "4")
        os.utime(copy)
        os.chmod(copy, 0o600)
        os.chown(copy, os.getuid(), os.getgid())
        os.posix_fallocate(os.open(copy, os.O_RDWR), 0, 200_000)
        assert shutil.disk_usage(directory).total and os.listxattr(copy) is not None
        os.rename(copy, copy + "5")


def check_limits_and_ids():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE)
    resource.getrusage(resource.RUSAGE_CHILDREN)
    os.setuid(os.getuid())
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    os.nice(0)
    os.getloadavg()


def check_another_filter():
    """A program that adds a filter of its own, as Chromium does."""
    pid = os.fork()
    if pid == 0:
        allow_all = ctypes.create_string_buffer(b"\x06\x00\x00\x00\x00\x00\xff\x7f", 8)
        program = Program(1, ctypes.addressof(allow_all))
        answer = LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program))
        os._exit(0 if answer == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def require(program):
    if shutil.which(program) is None:
        raise FileNotFoundError(f"{program} is not installed")


def check_git():
    require("git")
    environment = {**os.environ, "HOME": os.getcwd(), "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q", "repo"], ["-C", "repo", *who, "commit", "-q", "--allow-empty", "-m", "one"],
                    ["-C", "repo", "gc", "-q"], ["clone", "-q", "repo", "clone"]):
        run("git", *command, env=environment)
    assert "one" in run("git", "-C", "clone", "log", env=environment)


def check_node():
    require("node")
    script = """
      const {Worker} = require('worker_threads'), fs = require('fs'), net = require('net'), os = require('os');
      fs.writeFileSync('node.txt', 'text'); os.cpus(); os.networkInterfaces && 0;
      require('child_process').execFileSync('/bin/true');
      new Worker('require("worker_threads").parentPort.postMessage(1)', {eval: true}).on('message', () => {
        const server = net.createServer(s => s.end('hi')).listen(0, '127.0.0.1', () =>
          net.connect(server.address().port, '127.0.0.1').on('data', d => {
            fs.promises.readFile('node.txt').then(t => { console.log(d + ' ' + t); process.exit(0); }); }));
      });"""
    assert run("node", "-e", script) == "hi text"


def check_compiler():
    require("gcc")
    with open("program.c", "w") as file:
        file.write("#include <pthread.h>\n#include <stdio.h>\n"
                   "static void *f(void *p) { *(int *)p = 42; return p; }\n"
                   "int main(void) { int n = 0; pthread_t t; pthread_create(&t, 0, f, &n);"
                   " pthread_join(t, 0); printf(\"%d\\n\", n); return 0; }\n")
    run("gcc", "-O2", "-pthread", "-o", "program", "program.c")
    assert run("./program") == "42"


def check_pip():
    require("pip3")
    run(sys.executable, "-m", "pip", "--version", env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})


def check_numpy():
    numpy = __import__("numpy")
    matrix = numpy.random.default_rng(1).random((300, 300))
    assert numpy.allclose(matrix @ numpy.linalg.inv(matrix), numpy.eye(300), atol=1e-6)
    numpy.memmap("array", dtype="f8", mode="w+", shape=(1000,)).flush()


def check_data_libraries():
    pandas = __import__("pandas")
    __import__("matplotlib").use("Agg")
    pyplot = __import__("matplotlib.pyplot", fromlist=["pyplot"])
    special = __import__("scipy.special", fromlist=["special"])
    frame = pandas.DataFrame({"a": [1, 2, 1], "b": [3, 4, 5]}).groupby("a").sum()
    frame.to_csv("frame.csv")
    frame.plot()
    pyplot.savefig("plot.png")
    assert os.path.getsize("plot.png") > 1000 and special.gamma(5) == 24


def control():
    checks = [(name[6:], check) for name, check in globals().items() if name.startswith("check_")]
    for name, check in checks:
        try:
            check()
        except (FileNotFoundError, ModuleNotFoundError) as missing:
            print("skipped", name, missing, flush=True)
        except BaseException as failure:
            print("failed", name, f"{type(failure).__name__}: {failure}", getattr(failure, "stderr", ""), flush=True)
        else:
            print("passed", name, flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "unfiltered":
        print("loaded in no time: there is no filter", file=sys.stderr)
    else:
        print(f"loaded in {load(sys.argv[1]):.0f} µs", file=sys.stderr)
    {"refused": answer_calls, "unfiltered": answer_calls, "foreign": enter_by_foreign_gate, "benign": control}[sys.argv[2]]()
