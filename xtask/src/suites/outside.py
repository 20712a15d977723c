"""Runs a program outside of any sandbox under conditions that equal those inside: an ordinary uid, no
capabilities, a network that is nothing but loopback, terminals of its own, the same environment and limits.

It is started in network and mount namespaces of its own, by root or with the rights over them.

usage: outside.py UID DIRECTORY PROGRAM [ARGUMENT]...
"""

import ctypes
import fcntl
import os
import resource
import socket
import struct
import sys

SIOCSIFFLAGS = 0x8914
IFF_UP_AND_RUNNING = 0x41
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_MEMLOCK: 1 << 20,
    resource.RLIMIT_NOFILE: 4096,
    resource.RLIMIT_STACK: 8 << 20,
}


def raise_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP_AND_RUNNING))


def mount_terminals():
    # Not every host lets an ordinary user open a terminal, and a sandbox does.
    options = b"newinstance,ptmxmode=0666,mode=0600"
    if ctypes.CDLL(None, use_errno=True).mount(b"devpts", b"/dev/pts", b"devpts", 0, options) != 0:
        raise OSError(ctypes.get_errno(), "mount devpts on /dev/pts")


def become(uid):
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    else:
        # The rights over the namespace came as ambient capabilities, which an exec would keep.
        ctypes.CDLL(None).prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def main():
    uid, directory, program = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    raise_loopback()
    mount_terminals()
    become(uid)
    for limit, value in LIMITS.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    os.chdir(directory)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": directory,
        "USER": "sandbox",
        "LOGNAME": "sandbox",
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    os.execve(program[0], program, environment)


main()
