"""The zygote's heap: which of its memory is sealed into a memory file before the first fork, and whether it can be.

The sealing itself is `reckon_seal_heap` in crates/cage/enter/heap.rs. Nothing here runs in a context.
"""

from __future__ import annotations

import array
import ctypes
import mmap
import os
import re

#: Allocators that take memory which they purged (`MADV_DONTNEED`) for zeros. Sealed memory comes back as it was sealed.
_PURGING = re.compile(r"jemalloc|tcmalloc|mimalloc|libarrow|libduckdb|_polars|rust_jemalloc", re.IGNORECASE)

#: Pages that were never touched and lie between two that were: up to here one mapping is cheaper than two.
_GAP = 64

#: Never touched: the stack that we run on, the kernel's pages, and what a child is not to inherit as it is.
_SPECIAL = {"gd", "io", "pf", "ht", "dc", "wf", "dp"}

_PRESENT, _SWAPPED, _OF_A_FILE = 1 << 63, 1 << 62, 1 << 61


class Stretch(ctypes.Structure):
    """The same layout as `Stretch` in crates/cage/enter/heap.rs."""

    _fields_ = [("start", ctypes.c_uint64), ("length", ctypes.c_uint64), ("protection", ctypes.c_uint64)]


def seal(library: ctypes.CDLL) -> dict:
    """Seals the heap of this process, once; returns how, or why not: then memory is as it was."""
    try:
        areas = list(_areas())
        purging = sorted({name for area in areas for name in _PURGING.findall(area.path)})
        if purging:
            return {"state": "plain", "why": f"{', '.join(purging)} is loaded, which takes purged memory for zeros"}
        found = [stretch for area in areas if area.is_private_memory for stretch in _touched(area)]
        stretches = (Stretch * len(found))(*found)
        function = library.reckon_seal_heap
        function.restype = ctypes.c_int64
        function.argtypes = [ctypes.POINTER(Stretch), ctypes.c_uint64]
        failed = function(stretches, len(found))
    except (OSError, ValueError) as error:
        return {"state": "plain", "why": f"{type(error).__name__}: {error}"}
    if failed != 0:
        # The steps are numbered in crates/cage/enter/heap.rs.
        return {"state": "plain", "why": f"step {-failed // 1000}: {os.strerror(-failed % 1000)}"}
    return {"state": "sealed", "bytes": sum(stretch[1] for stretch in found), "stretches": len(found)}


class _Area:
    """One mapping of this process, as smaps tells it."""

    def __init__(self, line: str) -> None:
        fields = line.split(maxsplit=5)
        self.start, self.end = (int(text, 16) for text in fields[0].split("-"))
        self.permissions = fields[1]
        self.path = fields[5].strip() if len(fields) > 5 else ""
        self.anonymous = 0
        self.flags: set[str] = set()

    @property
    def is_private_memory(self) -> bool:
        """Whether it holds pages of this process alone, which a fork would have to share page by page."""
        return (
            self.anonymous > 0
            and self.permissions[0] == "r"
            and self.permissions[2:] == "-p"
            and not self.path.startswith(("[stack", "[v"))
            and not self.flags & _SPECIAL
        )


def _areas():
    area = None
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            key = line.split(maxsplit=1)[0]
            if not key.endswith(":"):
                if area is not None:
                    yield area
                area = _Area(line)
            elif key == "Anonymous:":
                area.anonymous = int(line.split()[1])
            elif key == "VmFlags:":
                area.flags = set(line.split()[1:])
    if area is not None:
        yield area


def _touched(area: _Area):
    """Yields the stretches of an area that have pages, without long gaps."""
    size = mmap.PAGESIZE
    pages = array.array("Q")
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        file.seek(area.start // size * pages.itemsize)
        pages.frombytes(file.read((area.end - area.start) // size * pages.itemsize))
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if area.permissions[1] == "w" else 0)
    first = last = None
    for index, page in enumerate(pages):
        if not page & (_PRESENT | _SWAPPED) or (page & _OF_A_FILE and not page & _SWAPPED):
            continue
        if last is not None and index - last > _GAP:
            yield area.start + first * size, (last + 1 - first) * size, protection
            first = None
        first = index if first is None else first
        last = index
    if first is not None:
        yield area.start + first * size, (last + 1 - first) * size, protection
