"""More than one's share, in a bounded form: success is reaching twice the limit, not bringing the host down."""

#% id: res-memory
#% needs: cgroup memory
#% says: takes more memory than its limit
#% walls: limit memory_bytes=2147483648
#% contained: out_of_memory MemoryError
memory = bytearray(560 << 20)
print(len(memory))

#% id: res-memory-child
#% needs: cgroup memory
#% says: takes more memory than its limit in a child
#% walls: limit memory_bytes=2147483648
#% contained: out_of_memory Contained
result = subprocess.run([sys.executable, "-S", "-c", "len(bytearray(560 << 20))"])
contained_unless(result.returncode == 0, f"the child ended with {result.returncode}")

#% id: res-memory-shared
#% needs: cgroup memory
#% says: takes more memory than its limit in a memory file
#% walls: limit memory_bytes=2147483648
#% contained: out_of_memory MemoryError
#% limits: file_bytes=2147483648
file = os.memfd_create("big")
block = b"x" * (1 << 20)
for _ in range(560):
    os.write(file, block)

#% id: res-processes
#% needs: cgroup pids
#% says: starts twice as many processes as its limit
#% walls: limit pids=512
#% contained: BlockingIOError
#% limits: memory_bytes=1073741824
children = []
try:
    for _ in range(128):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        children.append(child)
finally:
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)

#% id: res-threads
#% needs: cgroup pids
#% says: starts twice as many threads as its limit
#% walls: limit pids=512
#% contained: RuntimeError
import threading

stop = threading.Event()
threads = []
try:
    for _ in range(128):
        thread = threading.Thread(target=stop.wait)
        thread.start()
        threads.append(thread)
finally:
    stop.set()
    for thread in threads:
        thread.join()

#% id: res-fork-bomb
#% needs: cgroup pids
#% says: forks in every process that it forked
#% walls: limit pids=512
#% contained: Contained
#% limits: memory_bytes=1073741824
own = os.getpid()
reader, writer = os.pipe()
os.set_blocking(reader, False)
for _ in range(7):
    try:
        os.fork()
    except OSError:
        os.write(writer, b"x")
        break
if os.getpid() != own:
    time.sleep(2)
    os._exit(0)
time.sleep(1)
try:
    refused = os.read(reader, 100)
except BlockingIOError:
    refused = b""
contained_unless(not refused, "a fork was refused")

#% id: res-open-files
#% says: opens twice as many files as its limit
#% walls: limit open_files=1024
#% contained: EMFILE
files = []
try:
    for _ in range(512):
        files.append(os.open("/dev/null", os.O_RDONLY))
finally:
    for file in files:
        os.close(file)

#% id: res-file-size
#% says: writes a file of twice its limit
#% walls: limit file_bytes=67108864
#% contained: EFBIG
with open("big", "wb") as file:
    for _ in range(16):
        file.write(bytes(1 << 20))

#% id: res-sparse-file
#% says: makes a file that looks larger than its limit
#% walls: limit file_bytes=67108864
#% contained: EFBIG
with open("sparse", "wb") as file:
    file.truncate(16 << 20)

#% id: res-tmp
#% says: fills /tmp with twice its limit
#% walls: limit tmp_bytes=134217728
#% contained: ENOSPC
for number in range(8):
    with open(f"/tmp/{number}", "wb") as file:
        file.write(bytes(4 << 20))

#% id: res-shm
#% says: fills shared memory with twice its limit
#% walls: limit tmp_bytes=134217728
#% contained: ENOSPC
for number in range(8):
    with open(f"/dev/shm/{number}", "wb") as file:
        file.write(bytes(4 << 20))

#% id: res-home
#% says: fills HOME with twice its limit
#% walls: limit tmp_bytes=134217728
#% contained: ENOSPC
for number in range(8):
    with open(f"/home/sandbox/{number}", "wb") as file:
        file.write(bytes(4 << 20))

#% id: res-time
#% says: computes longer than its limit
#% walls: limit timeout_ms=60000
#% contained: timeout
#% limits: timeout_ms=1500
until = time.monotonic() + 4
while time.monotonic() < until:
    pass

#% id: res-time-caught
#% says: computes on when it is interrupted
#% walls: limit timeout_ms=60000
#% contained: timeout
#% limits: timeout_ms=1000
until = time.monotonic() + 6
while time.monotonic() < until:
    try:
        while time.monotonic() < until:
            pass
    except KeyboardInterrupt:
        pass

#% id: res-time-blocked
#% says: blocks every signal and sleeps
#% walls: limit timeout_ms=60000
#% contained: timeout
#% limits: timeout_ms=1000
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
until = time.monotonic() + 6
while time.monotonic() < until:
    time.sleep(1)

#% id: res-time-stopped
#% says: stops itself, so that no signal reaches it
#% walls: limit timeout_ms=60000
#% contained: timeout
#% limits: timeout_ms=1500
child = subprocess.Popen([sys.executable, "-S", "-c", f"import os,signal,time; time.sleep(3); os.kill({os.getpid()}, signal.SIGCONT)"])
os.kill(os.getpid(), signal.SIGSTOP)
child.wait()

#% id: res-output
#% says: floods its output
#% walls: limit output_bytes=33554432
#% contained: limit:output
for _ in range(4096):
    print("x" * 1023)

#% id: res-output-errors
#% says: floods its errors from a child
#% walls: limit output_bytes=33554432
#% contained: limit:output
subprocess.run([sys.executable, "-S", "-c", "import sys\nfor _ in range(4096): sys.stderr.write('x' * 1023 + '\\n')"])

#% id: res-core
#% says: leaves a core file on the host
#% walls: rlimits.policy:
#% holds: rlimits.policy: CORE
#% contained: Contained
if open("/proc/sys/kernel/core_pattern").read().strip() not in ("core", "core.%p"):
    raise CannotRun("this host hands cores to a program of its own")
subprocess.run([sys.executable, "-S", "-c", "import os; os.abort()"])
contained_unless([name for name in os.listdir(".") if name.startswith("core")])

#% id: res-locked-memory
#% says: locks more memory than its limit
#% walls: rlimits.policy:
#% holds: rlimits.policy: MEMLOCK
#% contained: ENOMEM EPERM
import mmap

memory = mmap.mmap(-1, 4 << 20)
call(149, ctypes.addressof(ctypes.c_char.from_buffer(memory)), 4 << 20)

#% id: res-signals
#% says: queues more signals than its limit
#% walls: rlimits.policy:
#% holds: rlimits.policy: SIGPENDING
#% contained: EAGAIN
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN + 1])
message = ctypes.create_string_buffer(struct.pack("=iii", signal.SIGRTMIN + 1, 0, -1) + bytes(116))
for _ in range(2048):
    call(129, os.getpid(), signal.SIGRTMIN + 1, message)

#% id: res-nice
#% says: goes ahead of the server
#% walls: rlimits.policy:
#% holds: rlimits.policy: NICE
#% contained: EACCES EPERM
os.setpriority(os.PRIO_PROCESS, 0, -5)
os.setpriority(os.PRIO_PROCESS, 0, 0)

#% id: res-real-time
#% says: allows itself a real-time class
#% walls: rlimits.policy:
#% holds: rlimits.policy: RTPRIO
#% contained: ValueError EPERM
import resource

resource.setrlimit(resource.RLIMIT_RTPRIO, (50, 50))

#% id: res-stack
#% says: allows itself a larger stack
#% walls: rlimits.policy:
#% holds: rlimits.policy: STACK
#% contained: ValueError EPERM
import resource

resource.setrlimit(resource.RLIMIT_STACK, (64 << 20, 64 << 20))

#% id: res-queue
#% says: allows itself larger queues in the kernel
#% walls: rlimits.policy:
#% holds: rlimits.policy: MSGQUEUE
#% contained: ValueError EPERM
import resource

resource.setrlimit(resource.RLIMIT_MSGQUEUE, (1 << 16, 1 << 16))

#% id: res-regex
#% says: hangs in C code that no signal handler reaches
#% walls: limit timeout_ms=60000
#% contained: timeout
#% limits: timeout_ms=1000
import hashlib

until = time.monotonic() + 4
while time.monotonic() < until:
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 3_000_000)
