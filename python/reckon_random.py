"""What must be random anew in each context: `random`, NumPy's generator of old, the key of `multiprocessing`.

A forked child can seed them by calling each, which touches some 300 pages of its memory. Or the zygote finds out where
their states lie, and the entering code fills those bytes from the kernel's generator: three pages.
"""

from __future__ import annotations

import ctypes
import os
import random
import struct
import sys

_WORDS = 624


def settle() -> None:
    """Leaves nothing in this process that only a new pid would tell its children to renew: theirs need not be new."""
    if (tempfile := sys.modules.get("tempfile")) is not None:
        tempfile._name_sequence = None
    if (uuid := sys.modules.get("uuid")) is not None:
        uuid._node = uuid._last_timestamp = None


def reseed() -> None:
    """Gives this process its own random numbers, names and keys instead of the zygote's."""
    random.seed()
    if (legacy := sys.modules.get("numpy.random")) is not None:
        legacy.seed()
    if (process := sys.modules.get("multiprocessing.process")) is not None:
        process.current_process().authkey = os.urandom(32)
    settle()


def reseed_ssl() -> None:
    """Gives OpenSSL new randomness: it would itself when the pid changes, but in a room of its own the pid need not."""
    if (ssl := sys.modules.get("_ssl")) is not None:
        ssl.RAND_add(os.urandom(32), 32.0)


def states() -> list[tuple[int, int]] | None:
    """Returns address and length of each state that is to be filled with random bytes; None where one is not found.

    They are found by their content, so that no layout is assumed. Everything else that `reseed` does is done here.
    """
    found = [_find(id(random._inst), random._inst.__sizeof__(), _python_key)]
    if sys.modules.get("numpy.random") is not None:
        import numpy

        generator = numpy.random.mtrand._rand._bit_generator
        if type(generator).__name__ != "MT19937":
            return None
        found.append(_find(generator.ctypes.state_address, _WORDS * 4 + 8, _numpy_key))
    if (process := sys.modules.get("multiprocessing.process")) is not None:
        current = process.current_process()
        current.authkey = os.urandom(32)  # Never hashed, so that no hash of it is kept.
        found.append(_find(id(current.authkey), current.authkey.__sizeof__(), lambda: bytes(current.authkey)))
    settle()
    return None if None in found else found


def _find(address: int, size: int, state) -> tuple[int, int] | None:
    """Returns where in `size` bytes at `address` the state lies, once writing there has been seen to change it."""
    before = state()
    at = ctypes.string_at(address, size).find(before)
    if at < 0:
        return None
    ctypes.memmove(address + at, os.urandom(len(before)), len(before))
    return (address + at, len(before)) if state() != before else None


def _python_key() -> bytes:
    return struct.pack(f"={_WORDS}I", *random.getstate()[1][:_WORDS])


def _numpy_key() -> bytes:
    import numpy

    return numpy.random.get_state()[1].tobytes()
