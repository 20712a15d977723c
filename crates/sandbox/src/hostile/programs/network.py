"""The host's network, and kinds of sockets that honest programs do without."""

#% id: net-host-tcp
#% says: connects to a server on the host's loopback
#% walls: namespace net
#% contained: ECONNREFUSED
socket.create_connection(("127.0.0.1", @TCP_PORT@), timeout=5).close()

#% id: net-host-tcp6
#% says: connects to it by an address that means the same
#% walls: namespace net
#% contained: ECONNREFUSED ENETUNREACH
with socket.socket(socket.AF_INET6) as one:
    one.connect(("::ffff:127.0.0.1", @TCP_PORT@))

#% id: net-host-abstract
#% says: connects to an abstract socket of the host
#% walls: namespace net
#% contained: ECONNREFUSED
with socket.socket(socket.AF_UNIX) as one:
    one.connect("\0@ABSTRACT@")

#% id: net-host-interfaces
#% says: learns the host's network interfaces
#% walls: namespace net
#% contained: Contained
names = {line.split(":")[0].strip() for line in open("/proc/net/dev").read().splitlines()[2:]}
contained_unless(names - {"lo"})

#% id: net-host-connections
#% says: lists the host's open sockets
#% walls: namespace net
#% contained: Contained
contained_unless(f":{@TCP_PORT@:04X} " in open("/proc/net/tcp").read())

#% id: net-host-unix
#% says: lists the host's unix sockets
#% walls: namespace net
#% contained: Contained
contained_unless("@ABSTRACT@" in open("/proc/net/unix").read())

#% id: net-routes
#% says: looks for a way out
#% walls: namespace net
#% contained: Contained
contained_unless(len(open("/proc/net/route").read().splitlines()) > 1)

#% id: net-internet
#% says: looks for a way to a public address
#% walls: namespace net
#% contained: ENETUNREACH
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.connect(("192.0.2.1", 443))  # Sends nothing: the kernel only looks for a way.

#% id: net-metadata
#% says: looks for a way to a cloud's metadata service and its credentials
#% walls: namespace net
#% contained: ENETUNREACH
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.connect(("169.254.169.254", 80))

#% id: net-name
#% says: looks a name up
#% walls: engine
#% contained: gaierror
socket.getaddrinfo("example.com", 80)

#% id: net-udp
#% says: sends a datagram out
#% walls: namespace net
#% contained: ENETUNREACH
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 9))

#% id: net-broadcast
#% says: sends a datagram to everybody near
#% walls: engine
#% contained: ENETUNREACH
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    one.sendto(b"data", ("255.255.255.255", 9))

#% id: net-netlink
#% says: talks to the kernel's network configuration
#% walls: seccomp
#% contained: EAFNOSUPPORT
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()

#% id: net-alg
#% says: reaches the kernel's cryptography (Copy Fail, CVE-2026-31431)
#% walls: seccomp
#% contained: EAFNOSUPPORT
try:
    socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0).close()
except OSError as error:
    if status_of("Seccomp") != "0" or error.errno != errno.EAFNOSUPPORT:
        raise
    raise CannotRun("this kernel has no AF_ALG")

#% id: net-vsock
#% says: talks to the hypervisor, which no network namespace prevents
#% walls: seccomp
#% contained: EAFNOSUPPORT
try:
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM, 0).close()
except OSError as error:
    if status_of("Seccomp") != "0" or error.errno != errno.EAFNOSUPPORT:
        raise
    raise CannotRun("this kernel has no AF_VSOCK")

#% id: net-mptcp
#% says: makes a socket of a protocol that programs do not need
#% walls: seccomp
#% contained: EPROTONOSUPPORT
try:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).close()
except OSError as error:
    if status_of("Seccomp") != "0":
        raise
    raise CannotRun("this kernel has no MPTCP")

#% id: net-filter
#% says: reaches the packet filters of its sockets
#% walls: seccomp
#% contained: ENOPROTOOPT
with socket.socket() as one:
    one.setsockopt(socket.SOL_SOCKET, 44, 1)  # SO_LOCK_FILTER

#% id: net-zero-copy
#% says: sends its pages without a copy
#% walls: seccomp
#% contained: ENOPROTOOPT
with socket.socket() as one:
    one.setsockopt(socket.SOL_SOCKET, 60, 1)

#% id: net-congestion
#% says: chooses a module of the kernel for its connections
#% walls: seccomp
#% contained: ENOPROTOOPT
with socket.socket() as one:
    one.setsockopt(socket.IPPROTO_TCP, 13, b"reno")

#% id: net-multicast
#% says: joins a group of receivers
#% walls: seccomp
#% contained: ENOPROTOOPT
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.setsockopt(socket.IPPROTO_IP, 35, socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1"))

#% id: net-pair
#% says: makes a pair of sockets of another family
#% walls: engine
#% contained: EAFNOSUPPORT
socket.socketpair(socket.AF_INET, socket.SOCK_STREAM)
