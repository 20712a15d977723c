"""What another sandbox of the same server has, does and knows."""

#% id: sib-abstract
#% says: connects to an abstract socket of a sibling
#% walls: namespace net
#% contained: ECONNREFUSED
with socket.socket(socket.AF_UNIX) as one:
    one.connect("\0reckon-sibling")
#% neighbour
_sibling_server = socket.socket(socket.AF_UNIX)
_sibling_server.bind("\0reckon-sibling")
_sibling_server.listen()

#% id: sib-tcp
#% says: connects to a server on a sibling's loopback
#% walls: namespace net
#% contained: ECONNREFUSED
socket.create_connection(("127.0.0.1", int("@NEIGHBOUR@")), timeout=5).close()
#% neighbour
_sibling_tcp = socket.create_server(("127.0.0.1", 0))
print(_sibling_tcp.getsockname()[1])

#% id: sib-udp
#% says: sends a datagram to a sibling
#% walls: namespace net
#% contained: ECONNREFUSED
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.connect(("127.0.0.1", int("@NEIGHBOUR@")))
    for _ in range(3):
        one.send(b"hello")
        time.sleep(0.05)
#% neighbour
_sibling_udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
_sibling_udp.bind(("127.0.0.1", 0))
print(_sibling_udp.getsockname()[1])

#% id: sib-sysv-memory
#% says: attaches a sibling's System V memory
#% needs: namespaces
#% walls: namespace ipc
#% contained: ENOENT
memory = call(29, 424242, 4096, 0o666)
_libc.shmat.restype = ctypes.c_void_p
contained_unless(ctypes.string_at(_libc.shmat(memory, None, 0), 5) == b"hello")
#% neighbour
memory = call(29, 424242, 4096, 0o1666)
_libc.shmat.restype = ctypes.c_void_p
ctypes.memmove(_libc.shmat(memory, None, 0), b"hello", 5)

#% id: sib-sysv-semaphore
#% says: takes a sibling's System V semaphore
#% needs: namespaces
#% walls: namespace ipc
#% contained: ENOENT
call(64, 424243, 1, 0o666)
#% neighbour
call(64, 424243, 1, 0o1666)

#% id: sib-tmp
#% says: reads a sibling's temporary file
#% walls: mounts.policy: room tmpfs /tmp
#% holds: mounts.policy: room tmpfs /tmp
#% contained: ENOENT
contained_unless(open("/tmp/reckon-sibling").read() == "hello")
#% neighbour
with open("/tmp/reckon-sibling", "w") as file:
    file.write("hello")

#% id: sib-shm
#% says: opens a sibling's shared memory
#% walls: engine
#% contained: ENOENT
open("/dev/shm/reckon-sibling").read()
#% neighbour
with open("/dev/shm/reckon-sibling", "w") as file:
    file.write("hello")

#% id: sib-workspace
#% says: reads a sibling's file by the way their directories lie on the host
#% walls: engine
#% contained: ENOENT EACCES
open("/workspace/../sibling.txt").read()
#% neighbour
with open("/workspace/sibling.txt", "w") as file:
    file.write("hello")

#% id: sib-processes
#% says: sees a sibling's command line
#% walls: namespace pid
#% contained: Contained
lines = [open(f"/proc/{pid}/cmdline").read() for pid in os.listdir("/proc") if pid.isdigit()]
contained_unless(any("sleep\x00424244" in line for line in lines))
#% neighbour
_sibling_child = subprocess.Popen(["sleep", "424244"])

#% id: sib-kill
#% says: kills a sibling's process
#% walls: namespace pid + uids
#% contained: Contained
for pid in filter(str.isdigit, os.listdir("/proc")):
    if "sleep\x00424245" in open(f"/proc/{pid}/cmdline").read():
        os.kill(int(pid), signal.SIGKILL)
        break
else:
    raise Contained("there is none to be seen")
#% neighbour
_sibling_victim = subprocess.Popen(["sleep", "424245"])

#% id: sib-pipes
#% says: uses up the pipes of its siblings
#% needs: host uids
#% walls: uids
#% contained: Contained
import fcntl

reader, writer = os.pipe()
contained_unless(fcntl.fcntl(writer, 1032) < 65536)
#% neighbour
import fcntl

# What one uid may have in pipes is bounded; beyond it new pipes are small.
_sibling_pipes = [os.pipe() for _ in range(100)]
_sibling_rest = list(_sibling_pipes)
for size in (1 << 20, 1 << 19, 1 << 18, 1 << 17):
    try:
        while True:
            fcntl.fcntl(_sibling_rest[-1][1], 1031, size)
            _sibling_rest.pop()
    except OSError:
        pass
_sibling_pipes += [os.pipe() for _ in range(8)]

#% id: sib-random
#% says: foretells a sibling's random numbers
#% walls: reseed
#% contained: Contained
import random

import numpy

# What the zygote left is known to all: whoever still has it can be foretold.
own = hash((random.getstate(), tuple(numpy.random.get_state()[1])))
contained_unless(str(own) == "@NEIGHBOUR@")
#% neighbour
import random

import numpy

print(hash((random.getstate(), tuple(numpy.random.get_state()[1]))))

#% id: sib-random-python
#% says: foretells the random module's numbers
#% walls: reseed
#% contained: Contained
import random

contained_unless(str(random.random()) == "@NEIGHBOUR@")
#% neighbour
import random

_sibling_state = random.getstate()
print(random.random())
random.setstate(_sibling_state)

#% id: sib-random-numpy
#% says: foretells NumPy's numbers
#% walls: reseed
#% contained: Contained
import numpy

contained_unless(str(numpy.random.random()) == "@NEIGHBOUR@")
#% neighbour
import numpy

_sibling_numpy = numpy.random.get_state()
print(numpy.random.random())
numpy.random.set_state(_sibling_numpy)

#% id: sib-authkey
#% says: knows the key by which a sibling's workers know each other
#% walls: reseed
#% contained: Contained
import multiprocessing

contained_unless(multiprocessing.current_process().authkey.hex() == "@NEIGHBOUR@")
#% neighbour
import multiprocessing

print(bytes(multiprocessing.current_process().authkey).hex())

#% id: sib-names
#% says: foretells names of temporary files, ids and keys
#% walls: engine
#% contained: Contained
import secrets, tempfile, uuid

own = {next(tempfile._get_candidate_names()), str(uuid.uuid4()), secrets.token_hex(8)}
contained_unless(own & set("@NEIGHBOUR@".split()))
#% neighbour
import secrets, tempfile, uuid

print(next(tempfile._get_candidate_names()), uuid.uuid4(), secrets.token_hex(8))

#% id: sib-descriptors
#% says: uses a descriptor that it was not meant to have
#% walls: descriptors
#% contained: Contained
def target(number):
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""

targets = [target(number) for number in os.listdir("/proc/self/fd")]
contained_unless([one for one in targets if "pidfd" in one or "cgroup" in one or one.startswith("pid:")]
                 or sum(one.startswith("socket:") for one in targets) > 1, f"{targets}")

#% id: sib-cgroup-descriptor
#% says: leaves its cgroup by a descriptor that stayed open
#% walls: descriptors
#% contained: Contained
for number in os.listdir("/proc/self/fd"):
    try:
        if os.readlink(f"/proc/self/fd/{number}").endswith("cgroup.procs"):
            print(number)
            break
    except OSError:
        pass
else:
    raise Contained("there is none")

#% id: sib-environment
#% says: looks for secrets in its environment
#% walls: engine
#% contained: Contained
known = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "LC_CTYPE"}
kept = ("PYTHON", "MPL", "OPENBLAS", "OMP", "MKL", "IPY", "NUMEXPR", "LC_", "CLICOLOR", "PAGER", "GIT_PAGER", "FORCE_COLOR", "COLUMNS", "LINES")
contained_unless([name for name in os.environ if name not in known and not name.startswith(kept)])

#% id: sib-ids
#% says: sees the uid of a sibling
#% walls: engine
#% contained: Contained
contained_unless(os.getuid() != 1000 or open("/proc/self/uid_map").read().split()[2] != "1")
