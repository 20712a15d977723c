import ctypes, errno, os, signal, socket, stat, struct, subprocess, sys, time

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

class Contained(Exception):
    """What was tried came to nothing."""

class CannotRun(Exception):
    """This host has nothing to try it on."""

def call(number, *arguments):
    """A system call by number; its error is raised."""
    result = _libc.syscall(ctypes.c_long(number), *(
        argument if isinstance(argument, (bytes, ctypes.Array)) or hasattr(argument, "contents") or argument is None
        else ctypes.cast(argument, ctypes.c_void_p) if isinstance(argument, ctypes.Structure)
        else ctypes.c_long(argument) for argument in arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

def contained_unless(reached, why="came to nothing"):
    if not reached:
        raise Contained(why)

def in_child(act):
    """Runs act in a forked child; its OSError is raised here."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            act()
            os.write(writer, b"ok")
        except OSError as error:
            os.write(writer, str(error.errno).encode())
        except BaseException as error:
            os.write(writer, b"!" + repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    said = os.read(reader, 4096).decode()
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if said == "ok":
        return status
    if said.isdigit():
        raise OSError(int(said), os.strerror(int(said)))
    raise RuntimeError(said or f"the child ended with status {status}")

def open_for_writing(path):
    os.close(os.open(path, os.O_WRONLY))

def status_of(field, pid="self"):
    with open(f"/proc/{pid}/status") as file:
        return next(line.split()[1] for line in file if line.startswith(field + ":"))

def flags_of(path):
    """Options of the mount on exactly this path, the one on top."""
    with open("/proc/self/mountinfo") as file:
        fields = [line.split() for line in file]
    return next(field[5].split(",") for field in reversed(fields) if field[4] == path)
