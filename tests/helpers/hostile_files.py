"""Files as torch.save writes them around pickles made by hand, and a bound on what reading them may take."""

from __future__ import annotations

import io
import pickle
import resource
import signal
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MEMORY = 1 << 30
"""Bytes beyond what the process has."""
SECONDS = 20
FOUR = bytes(16)
"""Four float32 numbers."""


@contextmanager
def bounded(seconds: int = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Fail with a `TimeoutError` or `MemoryError` where the block takes more."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, limits[1]))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def text(value: str) -> bytes:
    """Push it."""
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def number(value: int) -> bytes:
    """Push it."""
    return pickle.dumps(value, 2)[2:-1]


def storage(key: str = "0", count: int = 4, kind: str = "torch\nFloatStorage") -> bytes:
    """Push a reference to numbers."""
    return b"(" + text("storage") + b"c" + kind.encode() + b"\n" + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(
    stored: bytes | None = None,
    offset: bytes = b"K\0",
    size: bytes = b"K\4\x85",
    stride: bytes = b"K\1\x85",
    rest: bytes = b"\x89N",
) -> bytes:
    """Push a tensor."""
    stored = storage() if stored is None else stored
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + stored + offset + size + stride + rest + b"tR"


def state(*items: bytes, weight: bytes | None = None) -> bytes:
    """A whole pickle: a dict with the tensor "w", and further keys and values in turns."""
    return b"\x80\x02}(" + text("w") + (tensor() if weight is None else weight) + b"".join(items) + b"u."


def entries(pickled: bytes, storages: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """What is in a zip file of torch.save."""
    found = {"0": FOUR} if storages is None else storages
    return {"a/data.pkl": pickled, **{f"a/data/{key}": value for key, value in found.items()}, "a/version": b"3\n"}


def zipped(contents: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file of these."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def zip_file(path: Path, pickled: bytes, storages: Mapping[str, bytes] | None = None) -> Path:
    """A file of torch.save with this pickle."""
    path.write_bytes(zipped(entries(pickled, storages)))
    return path


def legacy_bytes(pickled: bytes, keys: tuple[str, ...] = ("0",), numbers: bytes | None = None) -> bytes:
    """A file of torch < 1.6 with this pickle."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system))
    numbers = (4).to_bytes(8, "little") + FOUR if numbers is None else numbers
    return head + pickled + pickle.dumps(list(keys), 2) + numbers


def legacy_storage(key: str = "0", count: int = 4) -> bytes:
    """Push a reference to numbers, as torch < 1.6 wrote it."""
    return storage(key, count)[:-2] + b"NtQ"
