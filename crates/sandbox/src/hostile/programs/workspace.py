"""Files that are traps for whoever reads the workspace from outside."""

#% id: work-link
#% says: leaves a link to a file of the server
#% walls: engine
#% contained: Contained
#% read: link.txt
os.symlink("@SECRET_FILE@", "link.txt")

#% id: work-link-directory
#% says: leaves a link to a directory of the server
#% walls: engine
#% contained: Contained
#% read: directory/passwd
os.symlink(os.path.dirname("@SECRET_FILE@"), "directory")
os.symlink("/etc", "etc")

#% id: work-link-up
#% says: leaves a link that climbs
#% walls: engine
#% contained: Contained
#% read: up/passwd
os.symlink("../../../../../../../../../../../../etc", "up")

#% id: work-link-proc
#% says: leaves a link into the server's own /proc
#% walls: engine
#% contained: Contained
#% read: environ
os.symlink("/proc/self/environ", "environ")

#% id: work-link-loop
#% says: leaves a link to itself
#% walls: engine
#% contained: Contained
#% read: loop/loop/loop
os.symlink("loop", "loop")

#% id: work-dots
#% says: has the host read a path that climbs
#% walls: engine
#% contained: Contained
#% read: ../../../../../../../../etc/passwd
pass

#% id: work-absolute
#% says: has the host read an absolute path
#% walls: engine
#% contained: Contained
#% read: /etc/passwd
pass

#% id: work-fifo
#% says: leaves a pipe that a reader waits on for ever
#% walls: engine
#% contained: Contained
#% read: fifo
os.mkfifo("fifo")

#% id: work-socket
#% says: leaves a socket
#% walls: engine
#% contained: Contained
#% read: socket
_work_socket = socket.socket(socket.AF_UNIX)
_work_socket.bind("socket")

#% id: work-swap
#% says: swaps a file and a link while the host reads
#% walls: engine
#% contained: Contained
#% read: swap.txt
with open("plain", "w") as file:
    file.write("plain")
subprocess.Popen([sys.executable, "-S", "-c", """
import os
os.symlink("@SECRET_FILE@", "link")
while True:
    os.link("plain", "next"); os.rename("next", "swap.txt")
    os.symlink("@SECRET_FILE@", "next"); os.rename("next", "swap.txt")
"""])
while not os.path.lexists("swap.txt"):
    time.sleep(0.01)

#% id: work-swap-directory
#% says: swaps a directory and a link while the host reads
#% walls: engine
#% contained: Contained
#% read: place/target.txt
name = os.path.basename("@SECRET_FILE@")
os.mkdir("real")
open("real/target.txt", "w").close()
subprocess.Popen([sys.executable, "-S", "-c", """
import os
while True:
    os.symlink(os.path.dirname("@SECRET_FILE@"), "next"); os.rename("next", "place")
    os.unlink("place"); os.rename("real", "place"); os.rename("place", "real")
"""])
time.sleep(0.2)

#% id: work-sparse
#% says: leaves a file that looks as large as the disk
#% walls: engine
#% contained: Contained
#% read: sparse
with open("sparse", "wb") as file:
    file.truncate((8 << 20) - 1)

#% id: work-deep
#% says: leaves directories a thousand deep
#% walls: engine
#% contained: Contained
#% read: d/d/d/d
for _ in range(1000):
    os.mkdir("d")
    os.chdir("d")
os.chdir("/workspace")

#% id: work-many
#% says: leaves three thousand files
#% walls: engine
#% contained: Contained
#% read: f1
for number in range(3000):
    open(f"f{number}", "w").close()

#% id: work-names
#% says: leaves files with names that break lines, terminals and encodings
#% walls: engine
#% contained: Contained
#% read: a
for name in (b"a\nb", b"\xff\xfe", b"\x1b[2J", b" ", b"a" * 255, b"-rf", b"'; rm -rf /", "\u202egnp.exe".encode()):
    with open(name, "wb") as file:
        file.write(b"x")

#% id: work-closed
#% says: leaves directories that nobody may enter
#% walls: engine
#% contained: Contained
#% read: closed/file
os.mkdir("closed")
open("closed/file", "w").close()
os.chmod("closed/file", 0)
os.chmod("closed", 0)

#% id: work-growing
#% says: leaves a file that grows while it is read
#% walls: engine
#% contained: Contained
#% read: growing
subprocess.Popen([sys.executable, "-S", "-c", """
import os
file = os.open("growing", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
while True:
    os.pwrite(file, b"x" * 65536, 0); os.ftruncate(file, 10); os.ftruncate(file, 4 << 20)
"""])
while not os.path.exists("growing"):
    time.sleep(0.01)

#% id: work-replaced
#% says: replaces its own workspace
#% walls: engine
#% contained: EBUSY EROFS EACCES EPERM OSError
os.rename("/workspace", "/tmp/workspace")
