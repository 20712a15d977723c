"""New namespaces, the ones of others, and what each of the room's own hides."""

#% id: unshare-user
#% says: makes a user namespace, the door to most kernel bugs
#% walls: seccomp
#% contained: EPERM
in_child(lambda: call(272, 0x10000000))

#% id: clone-user
#% says: clones a child into a user namespace
#% walls: seccomp
#% contained: EPERM
child = call(56, 0x10000000 | 17, 0, 0, 0, 0)
if child == 0:
    os._exit(0)
os.waitpid(child, 0)

#% id: clone3-user
#% says: does so by clone3, whose flags no filter can see (CVE-2021-41133)
#% walls: seccomp
#% contained: ENOSYS
arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)
child = call(435, arguments, ctypes.sizeof(arguments))
if child == 0:
    os._exit(0)
os.waitpid(child, 0)

#% id: clone-parent
#% says: hands its child to the zygote's parent
#% walls: seccomp
#% contained: EPERM
child = call(56, 0x8000 | 17, 0, 0, 0, 0)
if child == 0:
    os._exit(0)

#% id: unshare-net
#% says: makes a network namespace
#% walls: seccomp + capabilities
#% contained: EPERM
in_child(lambda: call(272, 0x40000000))

#% id: unshare-mount
#% says: makes a mount namespace
#% walls: seccomp + capabilities
#% contained: EPERM
in_child(lambda: call(272, 0x20000))

#% id: unshare-pid
#% says: makes a pid namespace
#% walls: seccomp + capabilities
#% contained: EPERM
in_child(lambda: call(272, 0x20000000))

#% id: unshare-time
#% says: makes a time namespace
#% walls: seccomp + capabilities
#% contained: EPERM
in_child(lambda: call(272, 0x80))

#% id: setns-own
#% says: joins a namespace by its file
#% walls: seccomp + capabilities
#% contained: EPERM
in_child(lambda: call(308, os.open("/proc/self/ns/uts", os.O_RDONLY), 0))

#% id: mount-tmpfs
#% says: mounts a file system over the programs
#% walls: seccomp + capabilities + landlock
#% contained: EPERM
call(165, b"none", b"/usr", b"tmpfs", 0, None)

#% id: mount-proc
#% says: mounts a /proc without masks
#% walls: seccomp + capabilities + landlock
#% contained: EPERM
os.mkdir("/tmp/proc")
call(165, b"proc", b"/tmp/proc", b"proc", 0, None)
contained_unless(os.path.exists("/tmp/proc/self"))

#% id: mount-bind
#% says: binds a directory elsewhere
#% walls: seccomp + capabilities + landlock
#% contained: EPERM
os.mkdir("/tmp/usr")
call(165, b"/usr", b"/tmp/usr", None, 0x1000, None)

#% id: mount-new-api
#% says: mounts by the new calls, which older filters do not know (CVE-2021-41133)
#% walls: seccomp + capabilities + landlock
#% contained: ENOSYS
context = call(430, b"tmpfs", 0)  # fsopen
call(431, context, 6, None, None, 0)  # fsconfig, create
mount = call(432, context, 0, 0)  # fsmount
call(429, mount, b"", -100, b"/home/sandbox", 4)  # move_mount

#% id: mount-clone-tree
#% says: clones a mount to change its flags
#% walls: seccomp + capabilities
#% contained: ENOSYS
call(428, -100, b"/tmp", 1)  # open_tree, OPEN_TREE_CLONE

#% id: mount-change-flags
#% says: takes nosuid off /tmp
#% walls: seccomp + capabilities
#% contained: ENOSYS
call(442, -100, b"/tmp", 0, (ctypes.c_uint64 * 4)(0, 2, 0, 0), 32)  # mount_setattr
contained_unless("nosuid" not in flags_of("/tmp"))

#% id: mount-list
#% says: lists mounts by the new call
#% walls: seccomp
#% contained: ENOSYS
request = (ctypes.c_uint64 * 3)(24, 0xFFFFFFFFFFFFFFFF, 0)
call(458, request, (ctypes.c_uint64 * 64)(), 64, 0)  # listmount of the root

#% id: pivot-root
#% says: changes the room's root
#% walls: seccomp + capabilities + landlock
#% contained: EPERM
os.mkdir("/tmp/root")
call(165, b"none", b"/tmp/root", b"tmpfs", 0, None)
os.mkdir("/tmp/root/old")
call(155, b"/tmp/root", b"/tmp/root/old")

#% id: chroot
#% says: changes its root, the first step of a known escape
#% walls: seccomp + capabilities
#% contained: EPERM
in_child(lambda: call(161, b"/tmp"))

#% id: sethostname
#% says: renames the host
#% walls: seccomp + capabilities
#% contained: EPERM
call(170, b"owned", 5)

#% id: setdomainname
#% says: sets the domain's name
#% walls: seccomp + capabilities
#% contained: EPERM
call(171, b"owned", 5)

#% id: uts-name
#% says: learns the name of the machine it runs on
#% walls: namespace uts
#% contained: Contained
contained_unless(os.uname().nodename != "sandbox")

#% id: cgroup-path
#% says: learns where its cgroup lies on the host
#% walls: namespace cgroup
#% contained: Contained
contained_unless(any(not line.rstrip().endswith(":/") for line in open("/proc/self/cgroup")))

#% id: pid-list
#% says: lists processes of others
#% walls: namespace pid
#% contained: Contained
names = {open(f"/proc/{pid}/comm").read().strip() for pid in os.listdir("/proc") if pid.isdigit()}
contained_unless("reckon-warden" in names or sum(name.startswith("reckon-init") for name in names) > 1
                 or sum(name.startswith("python") for name in names) > 1)

#% id: pid-zygote-command
#% says: reads the command line of the zygote
#% walls: namespace pid
#% contained: Contained
lines = [open(f"/proc/{pid}/cmdline").read() for pid in os.listdir("/proc") if pid.isdigit()]
own = open("/proc/self/cmdline").read()
contained_unless(sum("reckon_zygote" in line for line in lines) > 1)
