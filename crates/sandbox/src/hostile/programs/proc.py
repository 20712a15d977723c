"""What /proc tells of the host and of its kernel."""

#% id: proc-keys
#% says: reads the kernel's keyrings of everybody
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/keys
#% contained: ENOENT
contained_unless(not stat.S_ISCHR(os.stat("/proc/keys").st_mode))

#% id: proc-key-users
#% says: counts the keys of the host's users
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/key-users
#% contained: ENOENT
contained_unless(not stat.S_ISCHR(os.stat("/proc/key-users").st_mode))

#% id: proc-interrupts
#% says: watches the host's interrupts, which time keystrokes and packets
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/interrupts + proc.policy: mask /proc/softirqs
#% contained: ENOENT
contained_unless(open("/proc/interrupts").read() and open("/proc/softirqs").read())

#% id: proc-cmdline
#% says: reads how the host was booted
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/cmdline
#% contained: ENOENT
contained_unless(open("/proc/cmdline").read())

#% id: proc-kallsyms
#% says: looks for addresses of the kernel
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/kallsyms
#% contained: ENOENT
contained_unless(open("/proc/kallsyms").readline())

#% id: proc-config
#% says: reads how the kernel was built, to choose an exploit
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/config.gz
#% contained: ENOENT
contained_unless(open("/proc/config.gz", "rb").read())

#% id: proc-disks
#% says: watches the host's disks
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/diskstats + proc.policy: mask /proc/partitions + proc.policy: mask /proc/swaps
#% contained: ENOENT
contained_unless(open("/proc/partitions").read() and os.stat("/proc/diskstats").st_mode & 0o170000 == 0o100000
                 and open("/proc/swaps").read())

#% id: proc-allocator
#% says: reads the page allocator's state, which helps to place an exploit
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/buddyinfo + proc.policy: mask /proc/zoneinfo
#% contained: ENOENT
contained_unless(open("/proc/buddyinfo").read() and open("/proc/zoneinfo").read())

#% id: proc-memory-map
#% says: reads the physical memory map
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/iomem + proc.policy: mask /proc/ioports + proc.policy: mask /proc/mtrr
#% contained: ENOENT
contained_unless(open("/proc/iomem").read() and open("/proc/ioports").read())

#% id: proc-locks
#% says: lists the file locks of all
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/locks
#% contained: ENOENT
contained_unless(stat.S_ISREG(os.stat("/proc/locks").st_mode))

#% id: proc-pressure
#% says: measures how busy the host is, to signal to a sibling
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/pressure
#% contained: ENOENT
contained_unless(open("/proc/pressure/cpu").read())

#% id: proc-hardware
#% says: lists the host's hardware
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/bus + proc.policy: mask /proc/irq + proc.policy: mask /proc/misc
#% contained: ENOENT
contained_unless(os.listdir("/proc/irq") and open("/proc/misc").read())

#% id: proc-terminals
#% says: lists the host's terminal drivers and file systems
#% walls: proc.policy: mask
#% holds: proc.policy: mask /proc/tty + proc.policy: mask /proc/fs + proc.policy: mask /proc/driver
#% contained: EACCES ENOENT
contained_unless(os.listdir("/proc/tty"))

#% id: proc-every-mask
#% says: looks for any path of the kernel's that is not covered
#% walls: proc.policy: mask
#% holds: proc.policy: mask
#% contained: ENOENT
files = """buddyinfo cmdline config.gz diskstats interrupts iomem ioports kallsyms kcore key-users keys kmsg kpagecgroup
kpagecount kpageflags latency_stats locks mdstat misc modules mtrr pagetypeinfo partitions sched_debug schedstat
slabinfo softirqs swaps sysrq-trigger timer_list timer_stats vmallocinfo zoneinfo""".split()
directories = "acpi asound bus driver fs irq pressure scsi tty".split()
null = os.stat("/dev/null").st_rdev
own = os.stat("/proc").st_dev
found = [name for name in files if os.path.exists(f"/proc/{name}") and os.stat(f"/proc/{name}").st_rdev != null]
found += [name for name in directories if os.path.exists(f"/proc/{name}") and os.stat(f"/proc/{name}").st_dev == own]
contained_unless(found)
print(found)

#% id: proc-sys-write
#% says: turns on forwarding of packets
#% walls: proc.policy: lock + capabilities
#% holds: proc.policy: lock /proc/sys
#% contained: EROFS EACCES
with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
    file.write("1")

#% id: proc-sys-remount
#% says: makes /proc/sys writable again
#% walls: seccomp + capabilities + landlock
#% contained: EPERM
call(165, None, b"/proc/sys", None, 0x1000 | 0x20 | 2 | 4 | 8 | 1, None)  # MS_BIND | MS_REMOUNT, read-only as it is

#% id: proc-unmask
#% says: takes the cover off /proc/keys
#% walls: seccomp + capabilities + landlock
#% contained: EPERM
call(166, b"/proc/keys", 2)  # umount2, MNT_DETACH
contained_unless(not stat.S_ISCHR(os.stat("/proc/keys").st_mode))

#% id: proc-init-memory
#% says: reads the memory of the room's init
#% walls: closed init + landlock
#% contained: EACCES EPERM
open("/proc/1/mem", "rb")

#% id: proc-init-environment
#% says: reads the environment of the room's init
#% walls: closed init + landlock
#% contained: EACCES EPERM
open("/proc/1/environ", "rb").read()

#% id: proc-init-program
#% says: opens the program of the room's init, to change what the next room runs
#% walls: engine
#% contained: EACCES EPERM ENOENT
os.open("/proc/1/exe", os.O_RDWR)

#% id: proc-init-root
#% says: climbs out by the root of another process
#% walls: closed init + landlock
#% contained: EACCES EPERM
os.listdir("/proc/1/root/")

#% id: proc-own-program
#% says: overwrites the interpreter through /proc/self/exe (CVE-2019-5736)
#% walls: engine
#% contained: EROFS EACCES EPERM
os.open("/proc/self/exe", os.O_WRONLY)

#% id: proc-core-pattern
#% says: makes the host run a program at the next crash
#% walls: engine
#% contained: EACCES EPERM EROFS
with open("/proc/sys/kernel/core_pattern", "w") as file:
    file.write("|/bin/sh")

#% id: proc-sysrq
#% says: reboots the host by /proc/sysrq-trigger
#% walls: engine
#% contained: EACCES EPERM ENOENT Contained
with open("/proc/sysrq-trigger", "w") as file:
    contained_unless(not stat.S_ISCHR(os.fstat(file.fileno()).st_mode), "it is the empty device")

#% id: proc-oom-score
#% says: makes the host's killer spare it
#% walls: engine
#% contained: EACCES EPERM
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("-1000")
