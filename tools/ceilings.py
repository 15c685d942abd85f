"""What a machine can do at best, measured: what the benchmarks compare with."""

import mmap
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CHUNK_BYTES = 4 << 20
RING_BYTES = 128 << 20
"""More than caches hold: what is written lies in memory, as a grid's buffers do."""


def commit() -> str:
    """The commit that is measured, with a + where files differ from it."""
    here = Path(__file__).parent
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=here)
    return done.stdout.strip() or "unknown"


def processor() -> str:
    """The processor's name, or the architecture."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} × {names[0] if names else platform.machine()}"


def write_s(folder: Path, *, files: int, size_bytes: int) -> float:
    """Seconds of direct writes into reserved files, two threads, all files side by side, as a grid's."""
    folder.mkdir()
    pages = -(-size_bytes // 4096) * 4096
    memory = mmap.mmap(-1, RING_BYTES)
    memory.write(os.urandom(1 << 20) * (RING_BYTES >> 20))
    view = memoryview(memory)
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_DIRECT", 0)
    began = time.monotonic()
    handles = [os.open(folder / str(number), flags, 0o666) for number in range(files)]
    for handle in handles:
        os.posix_fallocate(handle, 0, pages)

    def work(which: int) -> None:
        at = which * RING_BYTES // 2
        for start in range(0, pages, CHUNK_BYTES):
            for handle in handles[which::2]:
                os.pwrite(handle, view[at : at + min(CHUNK_BYTES, pages - start)], start)
                at = (at + CHUNK_BYTES) % RING_BYTES

    _threads(2, work)
    for handle in handles:
        os.ftruncate(handle, size_bytes)
        os.fsync(handle)
        os.close(handle)
    return time.monotonic() - began


def read_s(paths: Sequence[Path], *, threads: int) -> float:
    """Seconds of reading files once into reused buffers; from memory, if they were read before."""
    handles = [os.open(path, os.O_RDONLY) for path in paths]
    jobs = [
        (handle, start) for handle in handles for start in range(0, os.fstat(handle).st_size, CHUNK_BYTES)
    ]

    def work(which: int) -> None:
        buffer = memoryview(mmap.mmap(-1, CHUNK_BYTES))
        for handle, start in jobs[which::threads]:
            os.preadv(handle, [buffer], start)

    began = time.monotonic()
    _threads(threads, work)
    for handle in handles:
        os.close(handle)
    return time.monotonic() - began


def copy_gb_s() -> float:
    """GB/s that one core copies from memory to memory."""
    from_here, to_there = bytearray(RING_BYTES), bytearray(RING_BYTES)
    best = min(_timed(lambda: to_there.__setitem__(slice(None), from_here)) for _ in range(5))
    return RING_BYTES / best / 1e9


def cuda() -> dict[str, float | str]:
    """Name, and GB/s over PCIe each way and within the first GPU's memory; empty without one."""
    import torch

    if not torch.cuda.is_available():
        return {}
    host = torch.empty(256 << 20, dtype=torch.uint8, pin_memory=True)
    device = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(device)

    def rate(size_bytes: int, what: Callable[[], object]) -> float:
        what()
        torch.cuda.synchronize()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        for _ in range(10):
            what()
        end.record()
        torch.cuda.synchronize()
        return 10 * size_bytes / float(begin.elapsed_time(end)) / 1e6

    return {
        "gpu": torch.cuda.get_device_name(),
        "to_gpu_gb_s": rate(len(host), lambda: device[: len(host)].copy_(host, non_blocking=True)),
        "from_gpu_gb_s": rate(len(host), lambda: host.copy_(device[: len(host)], non_blocking=True)),
        "gpu_memory_gb_s": rate(2 * len(device), lambda: other.copy_(device)),
    }


def _threads(count: int, work: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))


def _timed(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began
