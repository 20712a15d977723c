"""Powers that root has, over the room or over the host."""

#% id: cap-effective
#% says: looks for capabilities it holds
#% walls: capabilities
#% contained: Contained
contained_unless(int(status_of("CapEff"), 16) | int(status_of("CapPrm"), 16))

#% id: cap-bounding
#% says: looks for capabilities it could gain
#% walls: capabilities
#% contained: Contained
contained_unless(int(status_of("CapBnd"), 16))

#% id: cap-securebits
#% says: looks whether a change of uid could bring capabilities back
#% walls: capabilities
#% contained: Contained
contained_unless(_libc.prctl(27, 0, 0, 0, 0) != 0x2F)

#% id: cap-no-new-privs
#% says: looks whether a set-uid program could raise it
#% walls: no_new_privs + capabilities
#% contained: Contained
contained_unless(status_of("NoNewPrivs") == "0")

#% id: cap-low-port
#% says: takes a port that is root's
#% walls: capabilities
#% contained: EACCES
with socket.socket() as server:
    server.bind(("127.0.0.1", 80))

#% id: cap-file-capabilities
#% says: gives a file capabilities of its own
#% walls: capabilities
#% contained: EPERM
with open("/tmp/program", "w") as file:
    file.write("#!/bin/sh\n")
os.setxattr("/tmp/program", "security.capability", struct.pack("<5I", 0x02000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0))

#% id: cap-raw-socket
#% says: reads other people's packets
#% walls: seccomp + capabilities
#% contained: EPERM
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

#% id: cap-packet-socket
#% says: reads frames off the wire
#% walls: seccomp + capabilities
#% contained: EAFNOSUPPORT
socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)

#% id: cap-interface
#% says: takes the loopback interface down
#% walls: seccomp + capabilities
#% contained: ENOTTY
import fcntl

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    fcntl.ioctl(one, 0x8914, struct.pack("16sh22x", b"lo", 0))  # SIOCSIFFLAGS

#% id: cap-firewall
#% says: changes packet filters, whose code had sixty tracked bugs
#% walls: seccomp + capabilities
#% contained: EAFNOSUPPORT
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as one:
    one.bind((0, 0))
    # RTM_NEWLINK: a dummy interface is beyond whoever lacks CAP_NET_ADMIN; an unknown name is found out later.
    one.send(struct.pack("=IHHII", 32, 16, 5, 1, 0) + struct.pack("=BxHiII", 0, 0, 1, 0, 0))
    answer = one.recv(4096)
    error = struct.unpack_from("=i", answer, 16)[0]
    if error == -1:
        raise OSError(1, "refused by the kernel")

#% id: cap-reboot
#% says: ends its room by reboot
#% walls: seccomp + capabilities
#% contained: EPERM
#% escaped: killed interpreter_died
call(169, 0xFEE1DEAD, 672274793, 0x01234567, None)
time.sleep(5)

#% id: cap-handle
#% says: opens a file by its handle, past every path (the Shocker escape)
#% walls: seccomp + capabilities
#% contained: EPERM
handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0) + bytes(128))
mount_id = ctypes.c_int()
os.mkdir("/tmp/directory")
call(303, -100, b"/tmp/directory", handle, ctypes.pointer(mount_id), 0)
os.close(call(304, os.open("/tmp", os.O_RDONLY), handle, os.O_DIRECTORY))

#% id: cap-become-root
#% says: becomes root
#% walls: engine
#% contained: EPERM EINVAL
os.setuid(0)

#% id: cap-groups
#% says: joins groups of the host
#% walls: engine
#% contained: EPERM
os.setgroups([0, 6, 42])

#% id: cap-raise-limit
#% says: raises its own hard limit of open files
#% walls: engine
#% contained: ValueError EPERM
import resource

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))

#% id: cap-chown
#% says: gives a file away to root
#% walls: engine
#% contained: EPERM EINVAL
open("gift", "w").close()
os.chown("gift", 0, 0)

#% id: cap-set-uid
#% says: runs a set-uid program of the host's
#% walls: engine
#% contained: Contained
for name in ("/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount", "/usr/bin/chsh"):
    if os.path.exists(name) and os.stat(name).st_mode & stat.S_ISUID:
        output = subprocess.run(["/bin/sh", "-c", "id -u"], capture_output=True, text=True).stdout
        contained_unless(output.strip() == "0" or os.geteuid() == 0, f"{name} would not raise it")
raise Contained("no such program raises it")

#% id: cap-sudo
#% says: starts su and looks which uid it runs with
#% walls: engine
#% contained: Contained
if not os.path.exists("/usr/bin/su"):
    raise Contained("there is no su")
child = subprocess.Popen(["/usr/bin/su", "-c", "id"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
output, _ = child.communicate(b"\n", timeout=8)
contained_unless(b"uid=0" in output)
