"""Processes that would not end, or end others."""

#% id: life-kill-init
#% says: kills the room's init
#% walls: engine
#% contained: Contained EPERM
os.kill(1, signal.SIGKILL)
os.kill(1, signal.SIGSTOP)
time.sleep(0.2)
raise Contained("init does not mind") if status_of("State", 1) != "T" else RuntimeError("init is stopped")

#% id: life-kill-all
#% says: kills everything it sees
#% walls: engine
#% needs: namespaces
#% contained: ok killed interpreter_died
if open("/proc/1/comm").read().strip() != "reckon-init":
    raise CannotRun("it sees processes of this host, which the self-test must not kill")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
    try:
        os.kill(-1, number)
    except (ProcessLookupError, KeyboardInterrupt):
        pass

#% id: life-kill-server
#% says: looks whether it may kill the server
#% walls: engine
#% contained: ESRCH EPERM
os.kill(@SERVER_PID@, 0)  # Only asks whether it may: where it could, this test would end itself.

#% id: life-kill-zygote
#% says: finds the zygote and kills it
#% walls: namespace pid + uids
#% contained: Contained
def zygote():
    for pid in os.listdir("/proc"):
        if pid.isdigit() and "reckon_zygote" in open(f"/proc/{pid}/cmdline").read() and status_of("NoNewPrivs", pid) == "0":
            return int(pid)
    raise Contained("there is none to be seen")

os.kill(zygote(), 0)  # Only asks whether it may.

#% id: life-signal-parent
#% says: kills its parent
#% walls: engine
#% contained: Contained
contained_unless(os.getppid() != 0, "its parent cannot be named")

#% id: life-daemon
#% says: leaves a daemon that nobody waits for
#% walls: engine
#% contained: ok
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(600)
    os._exit(0)

#% id: life-stopped-child
#% says: leaves a stopped child that cannot be told to end
#% walls: engine
#% contained: ok
child = subprocess.Popen(["sleep", "600"])
os.kill(child.pid, signal.SIGSTOP)

#% id: life-exit
#% says: ends its interpreter
#% walls: engine
#% contained: interpreter_died
os._exit(0)

#% id: life-crash
#% says: crashes its interpreter
#% walls: engine
#% contained: interpreter_died killed
ctypes.string_at(0)

#% id: life-exec
#% says: becomes another program under the driver's name
#% walls: engine
#% contained: interpreter_died ok error killed
os.execv("/bin/true", ["true"])

#% id: life-stack
#% says: overflows the stack of C code
#% walls: engine
#% contained: interpreter_died killed RecursionError out_of_memory
sys.setrecursionlimit(1 << 30)

def deep(number):
    return sorted([number], key=deep)

deep(1)

#% id: life-children-hold-output
#% says: leaves children that hold its output open
#% walls: engine
#% contained: ok
for _ in range(8):
    subprocess.Popen(["sleep", "600"])

#% id: life-vanishing-threads
#% says: leaves threads that print for ever
#% walls: engine
#% contained: ok
import threading

def chatter():
    while True:
        print("still here")
        time.sleep(0.001)

for _ in range(4):
    threading.Thread(target=chatter, daemon=True).start()
