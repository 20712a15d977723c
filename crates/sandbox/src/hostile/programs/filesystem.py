"""Files of the host, of Reckon and of the image."""

#% id: fs-own-files
#% says: changes Reckon's own driver, which the next tenants run
#% walls: mounts.policy: root tmpfs / -ro + uids + landlock
#% holds: mounts.policy: root tmpfs /
#% contained: EACCES EROFS
with open("/run/reckon/python/reckon_values.py", "a") as file:
    file.write("# owned\n")

#% id: fs-own-filter
#% says: replaces the seccomp program of the next tenants
#% walls: mounts.policy: root tmpfs / -ro + uids + landlock
#% contained: EACCES EROFS EPERM
os.rename("/run/reckon/seccomp.bpf", "/run/reckon/seccomp.old")
os.rename("/run/reckon/seccomp.old", "/run/reckon/seccomp.bpf")

#% id: fs-passwd
#% says: adds a user to /etc/passwd
#% walls: mounts.policy: root tmpfs / -ro + uids + landlock
#% contained: EACCES EROFS
with open("/etc/passwd", "a") as file:
    file.write("evil::0:0::/:/bin/sh\n")

#% id: fs-new-root-directory
#% says: leaves a directory in the root that all rooms share
#% walls: mounts.policy: root tmpfs / -ro + uids + landlock
#% contained: EACCES EROFS
os.mkdir("/evil")

#% id: fs-device-directory
#% says: puts a file in place of a device
#% walls: mounts.policy: root tmpfs / -ro + uids + landlock
#% contained: EACCES EROFS
open("/dev/evil", "w").close()

#% id: fs-chmod
#% says: opens Reckon's own files to everybody
#% walls: mounts.policy: root tmpfs / -ro + uids
#% contained: EACCES EROFS EPERM
os.chmod("/run/reckon/plan.json", 0o666)

#% id: fs-host-passwords
#% says: looks for the host's passwords
#% walls: visible list
#% contained: ENOENT
os.stat("/etc/shadow")

#% id: fs-host-packages
#% says: lists the host's packages, to choose an exploit
#% walls: visible list
#% contained: ENOENT
open("/var/lib/dpkg/status").close()

#% id: fs-host-sys
#% says: looks through /sys
#% walls: visible list
#% contained: ENOENT
contained_unless(os.listdir("/sys/class"))

#% id: fs-host-configuration
#% says: reads the host's name servers and mounts
#% walls: visible list
#% contained: ENOENT
contained_unless(os.listdir("/etc/init.d"))

#% id: fs-secret
#% says: reads a file of the server by its path
#% walls: engine
#% contained: ENOENT EACCES
open("@SECRET_FILE@").read()

#% id: fs-homes
#% says: looks into the homes of the host's people
#% walls: engine
#% contained: ENOENT EACCES
os.listdir("/root")

#% id: fs-image
#% says: changes the image, which all sandboxes run
#% walls: engine
#% contained: EACCES EROFS
import numpy

open(numpy.__file__, "a").close()

#% id: fs-programs
#% says: changes a program that everybody runs
#% walls: engine
#% contained: EACCES EROFS
open("/usr/bin/env", "r+b").close()

#% id: fs-hard-link
#% says: takes a lasting name for a file of the system
#% walls: engine
#% contained: EPERM EACCES OSError
os.link("/etc/passwd", "/workspace/passwd")

#% id: fs-dot-dot
#% says: climbs out of its root
#% walls: visible list
#% contained: Contained
os.chdir("/")
for _ in range(64):
    os.chdir("..")
contained_unless(os.path.exists("var/lib/dpkg"))

#% id: fs-kept-directory
#% says: keeps a directory open and climbs from it
#% walls: visible list
#% contained: ENOENT EACCES
directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
os.open("../../../../../../var/lib", os.O_RDONLY, dir_fd=directory)

#% id: fs-devices
#% says: looks for disks, memory and hardware among the devices
#% walls: engine
#% contained: Contained
known = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd", "stdin", "stdout", "stderr", "shm", "pts"}
contained_unless(set(os.listdir("/dev")) - known)

#% id: fs-image-tells-host
#% says: learns from the image's own configuration where it lies on the host
#% walls: covers
#% contained: Contained
contained_unless(any(path in open(os.path.join(sys.prefix, "pyvenv.cfg")).read() for path in ("/root", "/home/", ".cache")))

#% id: mount-tree
#% says: looks whether the system's programs could be changed, or raise it
#% walls: mounts.policy: shown -ro -nosuid -nodev -noexec + mounts.policy: room -nosuid -nodev -noexec
#% holds: mounts.policy: shown tree
#% contained: Contained
flags = flags_of("/usr")
contained_unless("rw" in flags and "nosuid" not in flags and "nodev" not in flags)

#% id: mount-image
#% says: looks whether the image could be changed, or raise it
#% walls: mounts.policy: shown -ro -nosuid -nodev -noexec + mounts.policy: room -nosuid -nodev -noexec
#% contained: Contained
flags = flags_of("/opt/reckon")
contained_unless("rw" in flags and "nosuid" not in flags and "nodev" not in flags)

#% id: mount-device
#% says: looks whether a device could be a program
#% walls: mounts.policy: shown -ro -nosuid -nodev -noexec + mounts.policy: room -nosuid -nodev -noexec
#% holds: mounts.policy: shown device
#% contained: Contained
contained_unless("noexec" not in flags_of("/dev/null"))

#% id: mount-workspace
#% says: looks whether the workspace could hold devices or programs that raise it
#% walls: mounts.policy: shown -ro -nosuid -nodev -noexec + mounts.policy: room -nosuid -nodev -noexec
#% holds: mounts.policy: shown workspace
#% contained: Contained
flags = flags_of("/workspace")
contained_unless("nosuid" not in flags and "nodev" not in flags)

#% id: mount-tmp
#% says: looks whether /tmp could hold devices or programs that raise it
#% walls: mounts.policy: shown -ro -nosuid -nodev -noexec + mounts.policy: room -nosuid -nodev -noexec
#% holds: mounts.policy: room tmpfs /tmp
#% contained: Contained
flags = flags_of("/tmp")
contained_unless("nosuid" not in flags and "nodev" not in flags)

#% id: mount-shm
#% says: looks whether shared memory could hold devices or programs that raise it
#% walls: mounts.policy: shown -ro -nosuid -nodev -noexec + mounts.policy: room -nosuid -nodev -noexec
#% holds: mounts.policy: room tmpfs /dev/shm
#% contained: Contained
flags = flags_of("/dev/shm")
contained_unless("nosuid" not in flags and "nodev" not in flags)

#% id: mount-home
#% says: looks whether HOME could hold devices or programs that raise it
#% walls: mounts.policy: shown -ro -nosuid -nodev -noexec + mounts.policy: room -nosuid -nodev -noexec
#% holds: mounts.policy: room tmpfs /home/sandbox
#% contained: Contained
flags = flags_of("/home/sandbox")
contained_unless("nosuid" not in flags and "nodev" not in flags)

#% id: mount-terminals
#% says: looks whether a terminal could be a program
#% walls: mounts.policy: shown -ro -nosuid -nodev -noexec + mounts.policy: room -nosuid -nodev -noexec
#% holds: mounts.policy: room devpts
#% contained: Contained
flags = flags_of("/dev/pts")
contained_unless("nosuid" not in flags and "noexec" not in flags)

#% id: mount-own-proc
#% says: looks whether /proc could hold programs
#% walls: mounts.policy: shown -ro -nosuid -nodev -noexec + mounts.policy: room -nosuid -nodev -noexec
#% holds: mounts.policy: room proc
#% contained: Contained
flags = flags_of("/proc")
contained_unless("nosuid" not in flags and "noexec" not in flags)
