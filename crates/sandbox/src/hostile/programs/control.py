"""Honest programs: what a room must let be. A wall that breaks one of them is too high."""

#% id: honest-threads
#% says: threads and locks
import threading

numbers, lock = [], threading.Lock()

def add(number):
    with lock:
        numbers.append(number)

threads = [threading.Thread(target=add, args=(number,)) for number in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert sorted(numbers) == list(range(16))

#% id: honest-subprocess
#% says: shells, pipes and environments
assert subprocess.run("echo $((6 * 7)) | cat", shell=True, capture_output=True, text=True).stdout == "42\n"
assert subprocess.run(["env"], env={"A": "b"}, capture_output=True, text=True).stdout == "A=b\n"

#% id: honest-multiprocessing-fork
#% says: a pool of forked workers
import multiprocessing

with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2, -3]) == [1, 2, 3]

#% id: honest-multiprocessing-spawn
#% says: a pool of spawned workers
#% limits: timeout_ms=60000
import multiprocessing

with multiprocessing.get_context("spawn").Pool(1) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]

#% id: honest-multiprocessing-forkserver
#% says: workers of a fork server, queues and shared memory
#% holds: mounts.policy: room tmpfs /dev/shm + landlock.policy: room /dev/shm
#% limits: timeout_ms=60000
import multiprocessing
from multiprocessing import shared_memory

with multiprocessing.get_context("forkserver").Pool(1) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
memory = shared_memory.SharedMemory(create=True, size=4096)
memory.buf[:5] = b"hello"
again = shared_memory.SharedMemory(memory.name)
assert bytes(again.buf[:5]) == b"hello"
again.close()
memory.close()
memory.unlink()

#% id: honest-asyncio
#% says: an event loop, a server on loopback and children
import asyncio

async def everything():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    child = await asyncio.create_subprocess_exec("echo", "42", stdout=subprocess.PIPE)
    assert (await child.communicate())[0] == b"42\n"
    server.close()

await everything()

#% id: honest-sqlite
#% says: a database in the workspace
import sqlite3

with sqlite3.connect("honest.db") as database:
    database.execute("pragma journal_mode = wal")
    database.execute("create table t (a)")
    database.executemany("insert into t values (?)", [(number,) for number in range(100)])
    assert database.execute("select sum(a) from t").fetchone() == (4950,)

#% id: honest-mmap
#% says: a file mapped into memory
import mmap

with open("mapped", "w+b") as file:
    file.truncate(8192)
    with mmap.mmap(file.fileno(), 8192) as memory:
        memory[:5] = b"hello"
        memory.flush()
    assert file.read(5) == b"hello"

#% id: honest-sockets
#% says: TCP, UDP and unix sockets on loopback
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert server.accept()[0].getpeername() == one.getsockname()
with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
    socket.create_connection(server.getsockname()[:2]).close()
one, other = socket.socketpair()
one.send(b"x")
assert other.recv(1) == b"x"
assert socket.gethostbyname("localhost") == "127.0.0.1"

#% id: honest-terminal
#% says: a pseudo-terminal with a shell on it
#% holds: mounts.policy: room devpts + mounts.policy: link /dev/ptmx + visible.policy: device /dev/tty
import pty

child, terminal = pty.fork()
if child == 0:
    os.execvp("sh", ["sh", "-c", "echo $((6 * 7)) > /dev/tty"])
text = b""
try:
    while part := os.read(terminal, 1024):
        text += part
except OSError:
    pass
os.waitpid(child, 0)
assert b"42" in text, text

#% id: honest-temporary-files
#% says: temporary files and directories
#% holds: mounts.policy: room tmpfs /tmp + landlock.policy: room /tmp
import tempfile

assert tempfile.gettempdir() == "/tmp"
with tempfile.TemporaryDirectory() as directory:
    with open(os.path.join(directory, "a"), "w") as file:
        file.write("x")

#% id: honest-home
#% says: dot files in HOME
#% holds: mounts.policy: room tmpfs /home/sandbox + landlock.policy: room /home/sandbox
with open(os.path.expanduser("~/.honest"), "w") as file:
    file.write("x")

#% id: honest-workspace
#% says: files, links, permissions and times in the workspace
with open("honest.txt", "w") as file:
    file.write("x")
os.chmod("honest.txt", 0o755)
os.symlink("honest.txt", "honest-link")
os.link("honest.txt", "honest-hard")
os.utime("honest.txt", (1, 1))
os.mkfifo("honest-fifo")
assert open("honest-link").read() == "x"
with open("honest.sh", "w") as file:
    file.write("#!/bin/sh\necho 42\n")
os.chmod("honest.sh", 0o755)
assert subprocess.run(["./honest.sh"], capture_output=True).stdout == b"42\n"

#% id: honest-signals
#% says: handlers, alarms and waiting for signals
caught = []
old = signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
os.kill(os.getpid(), signal.SIGUSR1)
assert caught == [1]
signal.signal(signal.SIGUSR1, old)
signal.signal(signal.SIGALRM, lambda *_: caught.append(2))
signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.pause()
assert caught == [1, 2]

#% id: honest-numpy
#% says: linear algebra on several threads
import numpy

matrix = numpy.random.default_rng(1).random((400, 400))
assert numpy.allclose(matrix @ numpy.linalg.inv(matrix), numpy.eye(400), atol=1e-6)
assert abs(numpy.linalg.svd(matrix, compute_uv=False)[0]) > 1

#% id: honest-scipy
#% says: SciPy
try:
    import scipy.optimize
except ImportError:
    raise CannotRun("the image has no SciPy")
assert abs(scipy.optimize.brentq(lambda x: x * x - 2, 0, 2) - 2 ** 0.5) < 1e-9

#% id: honest-pandas
#% says: tables
import pandas

frame = pandas.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "x"]})
frame.to_csv("honest.csv", index=False)
assert pandas.read_csv("honest.csv").groupby("b").a.sum().to_dict() == {"x": 4, "y": 2}

#% id: honest-matplotlib
#% says: a plot, saved
import matplotlib.pyplot

figure, axes = matplotlib.pyplot.subplots()
axes.plot([1, 2, 3])
axes.set_title("honest")
figure.savefig("honest.png")
matplotlib.pyplot.close(figure)
assert open("honest.png", "rb").read(4) == b"\x89PNG"

#% id: honest-clocks
#% says: time zones, sleeping and measuring
#% holds: visible.policy: tree /etc/localtime
import datetime, zoneinfo

assert datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")).utcoffset().seconds == 7200
time.sleep(0.01)
if "@HAS:/etc/localtime@" != "yes":
    raise CannotRun("this host has no /etc/localtime")
os.stat("/etc/localtime")

#% id: honest-system
#% says: what programs ask about the machine
assert os.cpu_count() >= 1 and len(os.sched_getaffinity(0)) >= 1
assert "MemTotal" in open("/proc/meminfo").read() and "processor" in open("/proc/cpuinfo").read()
assert open("/proc/self/comm").read() and os.getloadavg() and os.uname().sysname == "Linux"
with open("/proc/self/comm", "w") as file:
    file.write("honest")
import pwd

assert pwd.getpwuid(os.getuid()).pw_name == "sandbox" and os.path.expanduser("~") == "/home/sandbox"

#% id: honest-own-process
#% says: changes of one's own entries in /proc
#% holds: landlock.policy: room /proc
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("900")
with open("/proc/self/comm", "w") as file:
    file.write("honest")

#% id: honest-device-null
#% says: /dev/null takes everything
#% holds: landlock.policy: room /dev
with open("/dev/null", "w") as file:
    file.write("x")

#% id: honest-device-zero
#% says: /dev/zero can be read
#% holds: visible.policy: device /dev/zero
with open("/dev/zero", "rb") as file:
    assert len(file.read(8)) == 8

#% id: honest-device-full
#% says: /dev/full can be read
#% holds: visible.policy: device /dev/full
with open("/dev/full", "rb") as file:
    assert len(file.read(8)) == 8

#% id: honest-device-random
#% says: /dev/random can be read
#% holds: visible.policy: device /dev/random
with open("/dev/random", "rb") as file:
    assert len(file.read(8)) == 8

#% id: honest-device-urandom
#% says: /dev/urandom can be read
#% holds: visible.policy: device /dev/urandom
with open("/dev/urandom", "rb") as file:
    assert len(file.read(8)) == 8

#% id: honest-link-fd
#% says: bash's process substitution
#% holds: mounts.policy: link /dev/fd
assert subprocess.run(["bash", "-c", "cat <(echo 42)"], capture_output=True).stdout == b"42\n"

#% id: honest-link-stdin
#% says: /dev/stdin as a file name
#% holds: mounts.policy: link /dev/stdin
assert subprocess.run("echo 42 | cat /dev/stdin", shell=True, capture_output=True).stdout == b"42\n"

#% id: honest-link-stdout
#% says: /dev/stdout as a file name
#% holds: mounts.policy: link /dev/stdout
assert subprocess.run(["sh", "-c", "echo 42 | tee /dev/stdout"], capture_output=True).stdout == b"42\n42\n"

#% id: honest-link-stderr
#% says: /dev/stderr as a file name
#% holds: mounts.policy: link /dev/stderr
assert subprocess.run(["sh", "-c", "echo 42 | tee /dev/stderr"], capture_output=True).stderr == b"42\n"

#% id: honest-link-data
#% says: the workspace by the name /mnt/data
#% holds: mounts.policy: link /mnt/data
with open("/mnt/data/data.txt", "w") as file:
    file.write("x")
assert open("/workspace/data.txt").read() == "x"

#% id: honest-link-home
#% says: the workspace by the name /home/user
#% holds: mounts.policy: link /home/user
with open("/home/user/user.txt", "w") as file:
    file.write("x")
assert open("/workspace/user.txt").read() == "x"

#% id: honest-programs
#% says: programs by their usual paths
#% holds: visible.policy: tree /sbin
if "@HAS:/sbin@" != "yes":
    raise CannotRun("this host has no /sbin")
assert subprocess.run(["/bin/sh", "-c", "exit 3"]).returncode == 3
os.listdir("/sbin")

#% id: honest-lib32
#% says: 32-bit libraries, where the host has them
#% holds: visible.policy: tree /lib32
if "@HAS:/lib32@" != "yes":
    raise CannotRun("this host has no /lib32")
os.listdir("/lib32")

#% id: honest-zip
#% says: archives
import shutil, zipfile

os.makedirs("tree/below")
open("tree/below/file", "w").close()
shutil.make_archive("tree", "zip", "tree")
assert "below/file" in zipfile.ZipFile("tree.zip").namelist()

#% id: honest-compiled
#% says: code made at run time: ctypes callbacks and executable memory
import mmap

assert ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda number: number + 1)(41) == 42
mmap.mmap(-1, 4096, prot=7).close()

#% id: honest-etc-alternatives
#% says: /etc/alternatives, where the host has it
#% holds: visible.policy: tree /etc/alternatives
if "@HAS:/etc/alternatives@" != "yes":
    raise CannotRun("this host has no /etc/alternatives")
os.stat("/etc/alternatives")

#% id: honest-etc-ca-certificates
#% says: /etc/ca-certificates, where the host has it
#% holds: visible.policy: tree /etc/ca-certificates
if "@HAS:/etc/ca-certificates@" != "yes":
    raise CannotRun("this host has no /etc/ca-certificates")
os.stat("/etc/ca-certificates")

#% id: honest-etc-fonts
#% says: /etc/fonts, where the host has it
#% holds: visible.policy: tree /etc/fonts
if "@HAS:/etc/fonts@" != "yes":
    raise CannotRun("this host has no /etc/fonts")
os.stat("/etc/fonts")

#% id: honest-etc-java-17-openjdk
#% says: /etc/java-17-openjdk, where the host has it
#% holds: visible.policy: tree /etc/java-17-openjdk
if "@HAS:/etc/java-17-openjdk@" != "yes":
    raise CannotRun("this host has no /etc/java-17-openjdk")
os.stat("/etc/java-17-openjdk")

#% id: honest-etc-ld-so-cache
#% says: /etc/ld.so.cache, where the host has it
#% holds: visible.policy: tree /etc/ld.so.cache
if "@HAS:/etc/ld.so.cache@" != "yes":
    raise CannotRun("this host has no /etc/ld.so.cache")
os.stat("/etc/ld.so.cache")

#% id: honest-etc-ld-so-conf
#% says: /etc/ld.so.conf, where the host has it
#% holds: visible.policy: tree /etc/ld.so.conf
if "@HAS:/etc/ld.so.conf@" != "yes":
    raise CannotRun("this host has no /etc/ld.so.conf")
os.stat("/etc/ld.so.conf")

#% id: honest-etc-ld-so-conf-d
#% says: /etc/ld.so.conf.d, where the host has it
#% holds: visible.policy: tree /etc/ld.so.conf.d
if "@HAS:/etc/ld.so.conf.d@" != "yes":
    raise CannotRun("this host has no /etc/ld.so.conf.d")
os.stat("/etc/ld.so.conf.d")

#% id: honest-etc-mime-types
#% says: /etc/mime.types, where the host has it
#% holds: visible.policy: tree /etc/mime.types
if "@HAS:/etc/mime.types@" != "yes":
    raise CannotRun("this host has no /etc/mime.types")
os.stat("/etc/mime.types")

#% id: honest-etc-protocols
#% says: /etc/protocols, where the host has it
#% holds: visible.policy: tree /etc/protocols
if "@HAS:/etc/protocols@" != "yes":
    raise CannotRun("this host has no /etc/protocols")
os.stat("/etc/protocols")

#% id: honest-etc-python3
#% says: /etc/python3, where the host has it
#% holds: visible.policy: tree /etc/python3
if "@HAS:/etc/python3@" != "yes":
    raise CannotRun("this host has no /etc/python3")
os.stat("/etc/python3")

#% id: honest-etc-python3-11
#% says: /etc/python3.11, where the host has it
#% holds: visible.policy: tree /etc/python3.11
if "@HAS:/etc/python3.11@" != "yes":
    raise CannotRun("this host has no /etc/python3.11")
os.stat("/etc/python3.11")

#% id: honest-etc-services
#% says: /etc/services, where the host has it
#% holds: visible.policy: tree /etc/services
if "@HAS:/etc/services@" != "yes":
    raise CannotRun("this host has no /etc/services")
os.stat("/etc/services")

#% id: honest-etc-ssl-certs
#% says: /etc/ssl/certs, where the host has it
#% holds: visible.policy: tree /etc/ssl/certs
if "@HAS:/etc/ssl/certs@" != "yes":
    raise CannotRun("this host has no /etc/ssl/certs")
os.stat("/etc/ssl/certs")
