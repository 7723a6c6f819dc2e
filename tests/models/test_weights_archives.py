"""Files of torch.save that can be read in two ways, or hold more than they look like: refused, never asked about."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from hostile_files import FOUR, bounded, entries, legacy_bytes, legacy_storage, state, storage, tensor, text, zip_file, zipped
from safetensors.torch import save_file
from weights_case import Evil, assert_same, refusal, saved

from i2am.commands.cli import main
from i2am.errors import WeightsFileError
from i2am.models.weights.file import read_weights
from i2am.models.weights.pickles import pickled_names

WEIGHT = {"w": torch.zeros(4)}
END = struct.Struct("<4s4H2LH")
ODD = "is damaged, cut off or made to mislead: "


def evil(marker: Path) -> bytes:
    """A pickle that makes a file."""
    return pickle.dumps(Evil(marker), 2)


def parts(archive: bytes) -> tuple[bytes, bytes, tuple[int, ...]]:
    """A zip file's entries, its list of contents, and its end record's numbers."""
    numbers = END.unpack(archive[-END.size :])[1:]
    return archive[: numbers[5]], archive[numbers[5] : -END.size], numbers


def ended(entries: bytes, listed: bytes, count: int, start: int | None = None, size: int | None = None) -> bytes:
    """A zip file of these, whose end record says where its list is."""
    start = len(entries) if start is None else start
    return entries + listed + END.pack(b"PK\5\6", 0, 0, count, count, len(listed) if size is None else size, start, 0)


def moved(listed: bytes, by: int) -> bytes:
    """A list of contents whose entries lie elsewhere."""
    out, at = bytearray(listed), 0
    while at < len(out):
        name, more, comment = struct.unpack_from("<3H", out, at + 28)
        struct.pack_into("<L", out, at + 42, (struct.unpack_from("<L", out, at + 42)[0] + by) % 2**32)
        at += 46 + name + more + comment
    return bytes(out)


def two_lists(harmless: bytes, harmful: bytes) -> bytes:
    """What zipfile takes for ``harmless``, since its list stands last, and torch for ``harmful``, whose list the end names."""
    first, first_list, numbers = parts(harmful)
    second, second_list, _ = parts(harmless)
    seen = moved(second_list, len(first) - len(first_list))  # zipfile takes the bytes between for something prepended
    assert len(first_list) == len(seen)
    return ended(first + second, first_list + seen, numbers[3], size=len(seen))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.ckpt"


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Refused by the reader and, whatever is agreed to, by ``convert``; nothing is asked or run. The reader's words."""
    with bounded():
        said = refusal(path)
        assert main(["convert", str(path), str(path.with_name("out.safetensors")), "--yes"]) == 2
        with pytest.raises(WeightsFileError):
            pickled_names(path)
    told = capsys.readouterr()
    assert "names more than tensors" not in told.out
    assert told.err.count("\n") == 1
    assert [x.name for x in path.parent.iterdir()] == [path.name]
    return said


def test_a_zip_file_with_two_lists_of_contents_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marker = path.with_name("marker")
    path.write_bytes(two_lists(zipped(entries(b"\x80\x02cdatetime\ndate\n.")), zipped(entries(evil(marker)))))
    with zipfile.ZipFile(path) as archive:
        assert b"datetime" in archive.read("a/data.pkl")  # what a reader of the names sees
    assert ODD + "its list of contents does not end where its end record begins" in refused(path, capsys)
    torch.load(path, weights_only=False)  # and what torch would have run
    assert marker.exists()


def _second_of_its_name(marker: Path) -> bytes:
    content, listed, numbers = parts(zipped({**entries(state()), "b/data.pkl": evil(marker)}))
    return ended(content.replace(b"b/data.pkl", b"a/data.pkl"), listed.replace(b"b/data.pkl", b"a/data.pkl"), numbers[3])


def _other_case(marker: Path) -> bytes:
    return zipped({**entries(state()), "A/DATA.PKL": evil(marker)})


def _two_pickles(marker: Path) -> bytes:
    return zipped({**entries(state()), "b/data.pkl": evil(marker)})


def _before(marker: Path) -> bytes:
    return zipped({"a/data.pkl": evil(marker)}) + zipped(entries(state()))


def _before_and_listed(marker: Path) -> bytes:
    first, _, _ = parts(zipped({"a/data.pkl": evil(marker)}))
    content, listed, numbers = parts(zipped(entries(state())))
    return ended(first + content, moved(listed, len(first)), numbers[3])


def _behind(marker: Path) -> bytes:
    return zipped(entries(state())) + evil(marker)


def _comment(marker: Path) -> bytes:
    archive = bytearray(zipped(entries(state())))
    hidden = zipped({"a/data.pkl": evil(marker)})
    archive[-2:] = len(hidden).to_bytes(2, "little")
    return bytes(archive) + hidden


def _nul(_: Path) -> bytes:
    archive = zipped({**entries(state()), "a/data.pkl_x": b""})
    return archive.replace(b"a/data.pkl_x", b"a/data.pkl\0x")


def _overlap(_: Path) -> bytes:
    content, listed, numbers = parts(zipped(entries(state())))
    at = listed.index(b"a/data/0") - 46
    stretched = bytearray(listed)
    struct.pack_into("<2L", stretched, at + 20, 80, 80)
    return ended(content, bytes(stretched), numbers[3])


def _two_sizes(_: Path) -> bytes:
    content, listed, numbers = parts(zipped(entries(state())))
    at = listed.index(b"a/data/0") - 46
    stretched = bytearray(listed)
    struct.pack_into("<L", stretched, at + 24, 10**9)
    return ended(content, bytes(stretched), numbers[3])


def _encrypted(_: Path) -> bytes:
    content, listed, numbers = parts(zipped(entries(state())))
    at = listed.index(b"a/data.pkl") - 46
    flagged = bytearray(listed)
    flagged[at + 8] |= 1
    return ended(content, bytes(flagged), numbers[3])


def _odd_method(_: Path) -> bytes:
    return zipped(entries(state()), zipfile.ZIP_LZMA)


def _bomb(_: Path) -> bytes:
    return zipped(entries(state(), {"0": FOUR, "1": bytes(200 << 20)}), zipfile.ZIP_DEFLATED)


def _pickle_bomb(_: Path) -> bytes:
    return zipped(entries(state()[:-1] + b"N0" * (33 << 20) + b".", {"0": os.urandom(8 << 20)}), zipfile.ZIP_DEFLATED)


def _long_list(_: Path) -> bytes:
    return ended(b"PK\3\4" + bytes(26), bytes(9 << 20), 1)


def _huge_end(_: Path) -> bytes:
    content, listed, numbers = parts(zipped(entries(state())))
    far = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, numbers[3], numbers[3], len(listed), 2)
    place = struct.pack("<4sLQL", b"PK\6\7", 0, len(content) + len(listed), 1)
    return ended(content + listed + far + place, b"", numbers[3], start=len(content), size=len(listed))


ZIPS = {
    _second_of_its_name: "it holds two entries of one name",
    _other_case: "it holds two entries of one name",
    _two_pickles: "it holds 2 pickles named data.pkl",
    _before: "its list of contents does not end where its end record begins",
    _before_and_listed: "something stands before its first entry",
    _behind: "something stands behind its list of contents",
    _comment: "",
    _nul: "the name of an entry can be read in two ways",
    _overlap: "its entries overlap",
    _two_sizes: "",
    _encrypted: "it is encrypted or packed in a way that torch.save never uses",
    _odd_method: "it is encrypted or packed in a way that torch.save never uses",
    _bomb: "it would unpack from",
    _pickle_bomb: "its pickle has 69 MB",
    _long_list: "its list of contents has 9 MB",
    _huge_end: "its two end records differ",
}


@pytest.mark.parametrize("make", ZIPS, ids=lambda make: make.__name__.strip("_"))
def test_a_zip_file_that_others_could_read_otherwise_is_refused(path: Path, make, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    path.write_bytes(make(path.with_name("marker")))
    assert ODD + ZIPS[make] in refused(path, capsys)


@pytest.mark.parametrize("wrong", ["name", "method", "extra"])
def test_an_entry_that_is_not_what_is_listed_is_refused(path: Path, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    archive = bytearray(zipped(entries(state())))
    if wrong == "name":
        archive[30:40] = b"b/data.pkl"
    else:
        struct.pack_into("<H", archive, 8 if wrong == "method" else 28, 8 if wrong == "method" else 200)
    path.write_bytes(archive)
    assert "damaged" in refused(path, capsys)


def test_an_archive_of_a_hundred_thousand_entries_takes_no_time(path: Path) -> None:
    path.write_bytes(zipped({**entries(state()), **{f"a/data/{i}": b"" for i in range(1, 60_000)}}))
    with bounded():
        assert_same(read_weights(path), WEIGHT)


# what honest programs write


def test_folders_packed_entries_and_other_files_are_no_hindrance(path: Path) -> None:
    contents = {"a/": b"", **entries(state()), "a/.data/serialization_id": b"1", "__MACOSX/a/._data.pkl": b"x", "../up": b"x"}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path.write_bytes(zipped(contents, method))
        assert_same(read_weights(path), WEIGHT)


def test_entries_whose_sizes_follow_them_are_read(path: Path) -> None:
    """As programs write them that cannot go back in what they write."""

    class Stream:
        def __init__(self, file) -> None:  # type: ignore[no-untyped-def]
            self.write, self.flush = file.write, file.flush

    with path.open("wb") as file, zipfile.ZipFile(Stream(file), "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        for name, content in entries(state()).items():
            archive.writestr(name, content)
    with zipfile.ZipFile(path) as archive:
        assert all(info.flag_bits & 8 for info in archive.infolist())
    assert_same(read_weights(path), WEIGHT)


def test_an_archive_without_checksums_is_read_and_one_with_wrong_ones_is_not(path: Path) -> None:
    saved(path, WEIGHT)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        checksum = archive.getinfo("a/data.pkl").CRC.to_bytes(4, "little")
    for told in (bytes(4), b"\1\2\3\4"):
        path.write_bytes(content.replace(checksum, told))
        if any(told):
            assert "checksum is wrong" in refusal(path)
        else:
            assert_same(read_weights(path), WEIGHT)


def test_numbers_of_the_other_byte_order_are_turned(path: Path) -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])
    swapped = values.numpy().byteswap().tobytes()
    path.write_bytes(zipped({**entries(state(), {"0": swapped}), "a/byteorder": b"big"}))
    assert_same(read_weights(path), {"w": values})


def test_numbers_at_odd_places_are_read(path: Path) -> None:
    for shift in range(8):
        path.write_bytes(zipped({"a/pad": b"x" * shift, **entries(state(), {"0": torch.arange(4.0).numpy().tobytes()})}))
        found = read_weights(path)["w"]
        assert found.data_ptr() % 4 == 0
        assert_same({"w": found}, {"w": torch.arange(4.0)})


# files of torch < 1.6


def framed(pickled: bytes, length: int) -> bytes:
    """A pickle whose frame is this long."""
    return b"\x80\x04\x95" + length.to_bytes(8, "little") + pickled


def test_a_frame_that_hides_the_next_pickle_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Python skips the rest of a large frame; who reads on behind the pickle's end finds what was put there for them."""
    marker = path.with_name("marker")
    rest = legacy_bytes(b"")[: -len(pickle.dumps(["0"], 2)) - 24]
    mark, others = rest[: rest.index(b".") + 1], rest[rest.index(b".") + 1 :]
    decoys = others + state(weight=tensor(legacy_storage())) + pickle.dumps(["0"], 2) + (4).to_bytes(8, "little") + FOUR
    decoys += bytes(200_000)  # more than Python looks ahead
    first = framed(mark[2:], len(mark[2:]) + len(decoys)) + decoys
    path.write_bytes(first + others + evil(marker) + pickle.dumps([], 2))
    assert ODD + "a frame in it reaches past the end of its pickle" in refused(path, capsys)
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_a_frame_in_a_zip_files_pickle_is_bound_too(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zip_file(path, framed(b"N." + state(), 40) + bytes(40))
    assert ODD + "a frame in it reaches past the end of its pickle" in refused(path, capsys)


@pytest.mark.parametrize(
    ("keys", "numbers"),
    [
        (("0", "0"), (4).to_bytes(8, "little") + FOUR + (4).to_bytes(8, "little") + FOUR),
        (("1",), (4).to_bytes(8, "little") + FOUR),
        ((), b""),
        (("0",), (10**12).to_bytes(8, "little") + FOUR),
        (("0",), (3).to_bytes(8, "little") + FOUR),
        (("0",), (4).to_bytes(8, "little") + FOUR[:-1]),
        (("0",), b"\4"),
    ],
)
def test_legacy_numbers_that_are_not_what_is_listed_are_refused(path: Path, keys: tuple[str, ...], numbers: bytes) -> None:
    path.write_bytes(legacy_bytes(state(weight=tensor(legacy_storage())), keys, numbers))
    with bounded():
        assert "damaged" in refusal(path)


def test_a_legacy_file_cut_before_an_empty_storage_is_refused(path: Path) -> None:
    empty = tensor(legacy_storage("1", 0), size=b"K\0\x85")
    whole = legacy_bytes(
        state(text("x"), empty, weight=tensor(legacy_storage())), ("0", "1"), (4).to_bytes(8, "little") + FOUR + bytes(8)
    )
    path.write_bytes(whole)
    assert_same(read_weights(path), {**WEIGHT, "x": torch.zeros(0)})
    for cut in range(1, 9):
        path.write_bytes(whole[:-cut])
        assert "damaged or cut off" in refusal(path)


def test_a_legacy_storage_of_a_trillion_numbers_is_refused(path: Path) -> None:
    weight = tensor(legacy_storage(count=10**12))
    path.write_bytes(legacy_bytes(state(weight=weight), numbers=(10**12).to_bytes(8, "little") + FOUR))
    with bounded():
        assert f"it has {path.stat().st_size:,} bytes, expected at least 4,000,000,000" in refusal(path)


# half-written files


def test_a_download_that_stopped_early_is_told(tmp_path: Path) -> None:
    for name in ("a.ckpt.part", "a.safetensors.crdownload", "a.ckpt.aria2"):
        (tmp_path / name).write_bytes(b"x")
        assert "is a download that has not finished; let it finish, or download it again" in refusal(tmp_path / name)
    saved(tmp_path / "a.ckpt", WEIGHT)
    assert "is a download that has not finished" in refusal(tmp_path / "a.ckpt")  # its helper a.ckpt.aria2 lies beside it
    for name in ("b.ckpt", "b.safetensors"):
        (tmp_path / name).write_bytes(bytes(10_000))
        assert "is not filled yet: it begins with 4096 zeros, as a download does that stopped early" in refusal(tmp_path / name)


def test_how_much_of_a_safetensors_file_is_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(100), "b": torch.ones(50)}, path)
    content = path.read_bytes()
    for size in (len(content) - 1, len(content) - 500, 60, 20):
        path.write_bytes(content[:size])
        said = refusal(path)
        assert f"is damaged or cut off (it has {size:,} of {len(content) if size > 500 else said.split()[-7]} bytes)" in said


@pytest.mark.parametrize(
    "header",
    [
        b"{" * 50_000,
        b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":[]}',
        b'{"a":"\xff"}',
    ],
)
def test_a_safetensors_header_that_cannot_be_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with bounded():
        assert "damaged" in refusal(path)


def test_an_empty_safetensors_file_has_no_weights(tmp_path: Path) -> None:
    save_file({}, tmp_path / "a.safetensors")
    with bounded():
        assert read_weights(tmp_path / "a.safetensors") == {}


def test_text_is_no_storage(path: Path) -> None:
    zip_file(path, state(text("x"), b"}" + text("y") + storage() + b"s"))
    assert "holds x (dict of 1) among its tensors" in refusal(path)
