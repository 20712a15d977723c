"""System calls that honest programs do without: each a part of the kernel less to attack."""

#% id: sys-ptrace
#% says: traces a process
#% walls: seccomp
#% contained: EPERM
in_child(lambda: call(101, 0, 0, 0, 0))

#% id: sys-process-vm-read
#% says: reads the memory of another process
#% walls: seccomp
#% contained: EPERM
buffer = ctypes.create_string_buffer(b"memory")
place = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 6)
into = ctypes.create_string_buffer(6)
local = (ctypes.c_uint64 * 2)(ctypes.addressof(into), 6)
call(310, os.getpid(), local, 1, place, 1, 0)
contained_unless(into.raw == b"memory")

#% id: sys-process-vm-write
#% says: writes the memory of another process
#% walls: seccomp
#% contained: EPERM
buffer = ctypes.create_string_buffer(6)
place = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 6)
source = ctypes.create_string_buffer(b"memory")
local = (ctypes.c_uint64 * 2)(ctypes.addressof(source), 6)
call(311, os.getpid(), local, 1, place, 1, 0)
contained_unless(buffer.raw == b"memory")

#% id: sys-kcmp
#% says: compares pointers of the kernel
#% walls: seccomp
#% contained: EPERM
call(312, os.getpid(), os.getpid(), 1, 0, 0)

#% id: sys-pidfd-getfd
#% says: takes a descriptor out of another process
#% walls: seccomp
#% contained: EPERM
call(438, os.pidfd_open(os.getpid()), 1, 0)

#% id: sys-process-madvise
#% says: drops the memory of another process
#% walls: seccomp
#% contained: EPERM
import mmap

memory = mmap.mmap(-1, 4096)
place = (ctypes.c_uint64 * 2)(ctypes.addressof(ctypes.c_char.from_buffer(memory)), 4096)
call(440, os.pidfd_open(os.getpid()), place, 1, 20, 0)  # MADV_COLD

#% id: sys-prlimit-other
#% says: changes the limits of another process
#% walls: seccomp
#% contained: EPERM
child = subprocess.Popen(["sleep", "20"])
limit = (ctypes.c_uint64 * 2)(64, 64)
try:
    call(302, child.pid, 7, limit, None)
finally:
    child.kill()
    child.wait()

#% id: sys-robust-list
#% says: reads the list of locks of another thread
#% walls: seccomp
#% contained: EPERM
call(274, 0, ctypes.pointer(ctypes.c_void_p()), ctypes.pointer(ctypes.c_size_t()))

#% id: sys-userfaultfd
#% says: stops the kernel in the middle of a copy
#% walls: seccomp
#% contained: EPERM
os.close(call(323, os.O_CLOEXEC | 1))  # UFFD_USER_MODE_ONLY

#% id: sys-io-uring
#% says: makes a ring by which calls go past every filter
#% walls: seccomp
#% contained: ENOSYS
os.close(call(425, 4, ctypes.create_string_buffer(120)))

#% id: sys-kernel-aio
#% says: takes from a budget of the whole host
#% walls: seccomp
#% contained: ENOSYS
call(206, 8, ctypes.pointer(ctypes.c_uint64(0)))

#% id: sys-keyctl
#% says: reads its session's keyring
#% walls: seccomp
#% contained: EPERM
call(250, 0, -3, 1, 0, 0)  # KEYCTL_GET_KEYRING_ID of the session, made where missing

#% id: sys-add-key
#% says: puts data into the kernel's keyring
#% walls: seccomp
#% contained: EPERM
call(248, b"user", b"reckon", b"data", 4, -2)  # the process's keyring

#% id: sys-request-key
#% says: has the kernel look for a key
#% walls: seccomp
#% contained: EPERM
try:
    call(249, b"user", b"reckon-nothing", None, -2)
except OSError as error:
    if error.errno == errno.EPERM:
        raise
    # The kernel has looked: ENOKEY.

#% id: sys-keyring-leak
#% says: reads a note that a sibling left in a keyring they share
#% walls: seccomp
#% contained: EPERM
key = call(249, b"user", b"reckon-note", None, 0)  # request_key
note = ctypes.create_string_buffer(5)
call(250, 11, key, note, 5, 0)  # KEYCTL_READ
contained_unless(note.raw == b"hello")
#% neighbour
try:
    key = call(248, b"user", b"reckon-note", b"hello", 5, -3)  # add_key to the session's keyring
    call(250, 5, key, 0x3F3F3F3F, 0, 0)  # KEYCTL_SETPERM: everybody
except PermissionError:
    pass

#% id: sys-perf
#% says: counts events of the processor
#% walls: seccomp
#% contained: EPERM
attributes = ctypes.create_string_buffer(struct.pack("=IIQ", 1, 128, 1) + bytes(24) + struct.pack("=Q", 0x61) + bytes(80))
try:
    os.close(call(298, attributes, 0, -1, -1, 0))
except OSError as error:
    if error.errno in (errno.EPERM,):
        raise
    # The kernel has looked at it: an event that this machine lacks, or perf_event_paranoid.

#% id: sys-bpf
#% says: asks the kernel's bpf for a program
#% walls: seccomp
#% contained: EPERM
# Most kernels refuse bpf to ordinary users on their own; what must not happen is that the kernel looks at it at all: a
# command that does not exist is EINVAL there, and EPERM here.
try:
    call(321, 999, ctypes.create_string_buffer(128), 128)
except OSError as error:
    if error.errno != errno.EINVAL:
        raise

#% id: sys-splice
#% says: moves pages between pipes (Dirty Pipe)
#% walls: seccomp
#% contained: EPERM
source, sink = os.pipe(), os.pipe()
os.write(source[1], b"pages")
contained_unless(os.splice(source[0], sink[1], 5) == 5)

#% id: sys-tee
#% says: duplicates pages between pipes
#% walls: seccomp
#% contained: EPERM
source, sink = os.pipe(), os.pipe()
os.write(source[1], b"pages")
contained_unless(call(276, source[0], sink[1], 5, 0) == 5)

#% id: sys-vmsplice
#% says: gives its own pages to a pipe
#% walls: seccomp
#% contained: EPERM
buffer = ctypes.create_string_buffer(b"pages")
vector = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 5)
contained_unless(call(278, os.pipe()[1], vector, 1, 0) == 5)

#% id: sys-memfd-secret
#% says: hides memory from the operator
#% walls: seccomp
#% contained: ENOSYS
os.close(call(447, 0))

#% id: sys-remap-file-pages
#% says: uses a call that is kept only for old programs
#% walls: seccomp
#% contained: ENOSYS
import mmap

memory = mmap.mmap(-1, 8192)
call(216, ctypes.addressof(ctypes.c_char.from_buffer(memory)), 4096, 0, 1, 0)

#% id: sys-mempolicy
#% says: places its memory on nodes of the host
#% walls: seccomp
#% contained: EPERM
call(238, 0, None, 0)

#% id: sys-get-mempolicy
#% says: asks for the host's nodes
#% walls: seccomp
#% contained: EPERM
call(239, ctypes.pointer(ctypes.c_int()), None, 0, None, 0)

#% id: sys-migrate-pages
#% says: moves the memory of processes between nodes
#% walls: seccomp
#% contained: EPERM
node = (ctypes.c_uint64 * 1)(1)
call(256, 0, 65, node, node)

#% id: sys-move-pages
#% says: asks on which node pages lie
#% walls: seccomp
#% contained: EPERM
call(279, 0, 0, None, None, None, 0)

#% id: sys-personality
#% says: turns address randomisation off for what it starts
#% walls: seccomp
#% contained: EPERM
call(135, 0x0040000)

#% id: sys-modify-ldt
#% says: makes segments for 16-bit programs
#% walls: seccomp
#% contained: EPERM
call(154, 0, ctypes.create_string_buffer(64), 64)

#% id: sys-32-bit
#% says: enters the kernel by the 32-bit gate, where numbers mean other calls
#% walls: seccomp
#% contained: killed interpreter_died
import mmap

memory = mmap.mmap(-1, 4096, prot=7)
memory.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
contained_unless(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))() > 0)

#% id: sys-futex-requeue
#% says: moves waiters between locks, the part of futex with the worst bugs
#% walls: seccomp
#% contained: ENOSYS
words = (ctypes.c_int * 2)()
call(202, words, 3 | 128, 1, 1, ctypes.addressof(words) + 4, 0)  # FUTEX_REQUEUE

#% id: sys-futex-pi
#% says: takes a lock that inherits priority
#% walls: seccomp
#% contained: ENOSYS
call(202, (ctypes.c_int * 1)(), 6 | 128, 0, None, None, 0)  # FUTEX_LOCK_PI

#% id: sys-futex2
#% says: waits on several locks by the new call
#% walls: seccomp
#% contained: ENOSYS
word = (ctypes.c_uint32 * 1)(1)
waiter = (ctypes.c_uint64 * 3)(0, ctypes.addressof(word), 0x82)
try:
    call(449, waiter, 1, 0, None, 0)
except OSError as error:
    if error.errno != errno.EAGAIN:  # It has looked: the value differs.
        raise

#% id: sys-posix-queue
#% says: makes a message queue in the kernel
#% walls: engine
#% contained: ENOSYS
call(240, b"reckon", os.O_CREAT | os.O_RDWR, 0o600, (ctypes.c_long * 8)(0, 1, 64))

#% id: sys-sysv-queue
#% says: makes a message queue, which heap sprays are made of
#% walls: seccomp
#% contained: ENOSYS
call(68, 0, 0o1600)

#% id: sys-name-to-handle
#% says: asks for a file's handle
#% walls: seccomp
#% contained: EPERM
handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0) + bytes(128))
open("/tmp/file", "w").close()
call(303, -100, b"/tmp/file", handle, ctypes.pointer(ctypes.c_int()), 0)

#% id: sys-fanotify
#% says: watches a whole mount
#% walls: seccomp
#% contained: EPERM
os.close(call(300, 0x200, 0))  # FAN_REPORT_FID, open to everybody

#% id: sys-sync
#% says: flushes the disks of the whole host, again and again
#% walls: seccomp
#% contained: EPERM
call(306, os.open("/tmp", os.O_RDONLY))  # syncfs; sync(2) tells no error

#% id: sys-lease
#% says: delays whoever opens its file on the host
#% walls: seccomp
#% contained: EINVAL
import fcntl

with open("lease", "w") as file:
    fcntl.fcntl(file, 1024, fcntl.F_WRLCK)

#% id: sys-dnotify
#% says: uses an obsolete way to watch a directory
#% walls: seccomp
#% contained: EINVAL
import fcntl

fcntl.fcntl(os.open("/tmp", os.O_RDONLY), fcntl.F_NOTIFY, 2)

#% id: sys-tiocsti
#% says: types words into a terminal (CVE-2017-5226)
#% walls: seccomp
#% contained: EPERM
import fcntl, pty, termios

controller, terminal = pty.openpty()

def type_words():
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    fcntl.ioctl(terminal, termios.TIOCSTI, b"x")

if open("/proc/sys/dev/tty/legacy_tiocsti").read().strip() != "1":
    raise CannotRun("this kernel refuses it to everybody")
in_child(type_words)

#% id: sys-prctl-other
#% says: takes the processor's clock away from itself by an option that programs do not need
#% walls: seccomp
#% contained: EINVAL
def without_clock():
    if _libc.prctl(26, 1, 0, 0, 0) != 0:  # PR_SET_TSC, PR_TSC_ENABLE
        raise OSError(ctypes.get_errno(), "PR_SET_TSC")

in_child(without_clock)

#% id: sys-speculation
#% says: changes how the processor guards against side channels
#% walls: seccomp
#% contained: EINVAL
def change():
    if _libc.prctl(53, 0, 4, 0, 0) != 0:  # PR_SET_SPECULATION_CTRL, store bypass, disable
        number = ctypes.get_errno()
        if number != errno.ENXIO:  # The kernel has looked: nothing to change here.
            raise OSError(number, "PR_SET_SPECULATION_CTRL")

in_child(change)

#% id: sys-cpuid-fault
#% says: changes which instructions work
#% walls: seccomp
#% contained: EINVAL
def fault():
    try:
        call(158, 0x1011, 0)  # ARCH_GET_CPUID
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise

in_child(fault)

#% id: sys-listener
#% says: installs itself as the judge over system calls of others
#% walls: seccomp
#% contained: EINVAL
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
program = Filter(1, ctypes.addressof(code))
in_child(lambda: os.close(call(317, 1, 8, ctypes.pointer(program))))

#% id: sys-unknown
#% says: uses calls that are newer than the policy
#% walls: seccomp
#% contained: ENOSYS
with open("own", "w") as file:
    call(451, file.fileno(), (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)(), 0)  # cachestat

#% id: sys-mknod
#% says: makes a device node
#% walls: engine
#% contained: EPERM EACCES
os.mknod("/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))

#% id: sys-clock
#% says: sets the host's clock
#% walls: engine
#% contained: EPERM
time.clock_settime(time.CLOCK_REALTIME, 0)

#% id: sys-module
#% says: loads a kernel module
#% walls: engine
#% contained: EPERM
call(313, os.open("/usr/bin/env", os.O_RDONLY), b"", 0)

#% id: sys-swap
#% says: turns the host's swap off
#% walls: engine
#% contained: EPERM
call(168, b"/swapfile")

#% id: sys-log
#% says: reads the kernel's log
#% walls: engine
#% contained: EPERM
call(103, 3, ctypes.create_string_buffer(100), 100)
