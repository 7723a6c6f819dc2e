"""What a zip file holds, if all programs find the same in it."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .inert import OddFileError

END = struct.Struct("<4s4H2LH")
"""The last record: mark, two disks, two counts of entries, size and place of the list, length of a comment."""
FAR_END = struct.Struct("<4sQ2H2L4Q")
"""The same for large files: mark, own length, two versions, two disks, two counts of entries, size and place of the list."""
FAR_PLACE = struct.Struct("<4sLQL")
"""Between them: mark, disk, place of the record for large files, disks."""
LOCAL = struct.Struct("<4s5H3L2H")
"""Before an entry: mark, version, flags, method, time, date, checksum, two sizes, lengths of the name and of more."""
MAX_COMMENT = 0xFFFF
MAX_LIST = 8 << 20
"""Bytes of the list of contents; 5,000 storages take 0.5 MB."""
ENCRYPTED, UTF8 = 0x1, 0x800


@dataclass(frozen=True)
class Entry:
    """One file in a zip file.

    Attributes:
        path: of the zip file.
        info: what the list of contents says.
        limit: where the next entry or the list begins.
    """

    path: Path
    info: zipfile.ZipInfo
    limit: int

    @property
    def size(self) -> int:
        """In bytes, unpacked."""
        return self.info.file_size

    @property
    def checksum(self) -> int:
        """CRC-32 of the unpacked bytes."""
        return self.info.CRC

    @property
    def is_stored(self) -> bool:
        """Whether its bytes lie in the zip file as they are."""
        return self.info.compress_type == zipfile.ZIP_STORED

    def start(self) -> int:
        """Where its bytes begin in the zip file.

        Raises:
            ValueError: another entry stands there, or it reaches into the next one.
        """
        place = self.info.header_offset
        with self.path.open("rb") as file:
            file.seek(place)
            mark, _, _, method, *_, named, more = LOCAL.unpack(file.read(LOCAL.size))
            name = file.read(named)
        start = place + LOCAL.size + named + more
        if (mark, method, name) != (b"PK\3\4", self.info.compress_type, _raw_name(self.info)):
            raise ValueError(f"what it lists and what stands at byte {place:,} differ")
        if start + self.info.compress_size > self.limit:
            raise ValueError(f"the entry at byte {place:,} reaches into the next")
        return start

    def read(self) -> bytes:
        """Its bytes, unpacked."""
        start = self.start()
        if not self.is_stored:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.info) as file:
                return file.read(self.size)  # with a number, since read() alone may unpack 2 GB at once
        with self.path.open("rb") as plain:
            plain.seek(start)
            return plain.read(self.size)


def entries_of(path: Path) -> dict[str, Entry]:
    """What a zip file holds, by name.

    Raises:
        OddFileError: other programs could find other contents in it.
        OSError, ValueError, RuntimeError, zipfile.BadZipFile: it is damaged.
    """
    end = _start_of_list(path)
    with zipfile.ZipFile(path) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    if infos and infos[0].header_offset != 0:
        raise OddFileError("something stands before its first entry")
    entries: dict[str, Entry] = {}
    names: set[str] = set()
    limits = [*(info.header_offset for info in infos[1:]), end]
    for info, limit in zip(infos, limits):
        name, stored = info.filename, info.compress_type == zipfile.ZIP_STORED
        if info.orig_filename != name:
            raise OddFileError("the name of an entry can be read in two ways")
        if name.casefold() in names:
            raise OddFileError(f"it holds two entries of one name, {name[:60]!a}")
        if info.flag_bits & ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise OddFileError("it is encrypted or packed in a way that torch.save never uses")
        if info.header_offset + LOCAL.size + len(_raw_name(info)) + info.compress_size > limit:
            raise OddFileError("its entries overlap")
        if stored and info.file_size != info.compress_size:
            raise OddFileError("it tells two sizes of one entry")
        names.add(name.casefold())
        entries[name] = Entry(path, info, limit)
    return entries


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if info.flag_bits & UTF8 else "cp437")


def _start_of_list(path: Path) -> int:
    """Where the list of contents begins, if it reaches to the record that ends the file.

    Raises:
        OddFileError: it does not, so that programs could take another list for it.
        zipfile.BadZipFile: there is no such record.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - MAX_COMMENT - END.size))
        tail = file.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0 or place + END.size > len(tail):
        raise zipfile.BadZipFile("File is not a zip file")
    _, *disks, count, length, start, comment = END.unpack_from(tail, place)
    if place + END.size + comment > len(tail):
        raise zipfile.BadZipFile("File is not a zip file")
    if place + END.size < len(tail):
        raise OddFileError("something stands behind its list of contents")
    end = size - END.size
    far = tail[:place][-FAR_PLACE.size - FAR_END.size :]
    if far[-FAR_PLACE.size :].startswith(b"PK\6\7"):
        near = (*disks, count, length, start)
        end -= FAR_PLACE.size + FAR_END.size
        mark, own, _, _, *told = FAR_END.unpack_from(far)
        agree = all(a == b or a in (0xFFFF, 0xFFFFFFFF) for a, b in zip(near, told))
        if (mark, own, FAR_PLACE.unpack_from(far, FAR_END.size)[2]) != (b"PK\6\6", 44, end) or not agree:
            raise OddFileError("its two end records differ")
        *_, length, start = told
    if start + length != end:
        raise OddFileError("its list of contents does not end where its end record begins")
    if length > MAX_LIST:
        raise OddFileError(f"its list of contents has {length / 1e6:,.0f} MB")
    return start
