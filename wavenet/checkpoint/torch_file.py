"""The contents of a `torch.save` file, checked before anything of it is loaded.

Every function raises ValueError with one line that says what is wrong; the caller adds the file's name.
"""

import io
import math
import pickle
import pickletools
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from wavenet.checkpoint.plain_data import VALUES_LIMIT, TensorPlan, check_file, check_plain

_PICKLE_LIMIT = 4 * 2**20  # bytes of a pickle without its tensors
_MEMBERS_LIMIT = 2**15  # files in an archive
_NUMBERED_LIMIT = 2**15  # entries of dicts whose keys are numbers, such as an optimizer's states; and their largest key
_MEMBER = re.compile(
    r"(?P<root>[^/\\]+)/(data\.pkl|byteorder|version|\.format_version|\.storage_alignment|"
    r"\.data/serialization_id|data/(?P<storage>\d+))"
)
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch.save before torch 1.6
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_INSTRUCTIONS = {  # what torch.save writes of plain data and tensors
    "PROTO", "STOP", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET",
    "MARK", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "APPEND",
    "APPENDS", "SETITEM", "SETITEMS", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT", "BINUNICODE",
}  # fmt: skip
_PUSHING = {  # instructions that only push an object
    code.name
    for code in pickletools.opcodes
    if code.name in _INSTRUCTIONS - {"MARK", "BINGET", "LONG_BINGET"} and not code.stack_before and code.stack_after
}
_EFFECTS = {  # objects that an instruction pops, whether also all from the last mark on, and objects that it pushes
    code.name: (
        len([kind for kind in code.stack_before if kind not in (pickletools.markobject, pickletools.stackslice)]),
        pickletools.markobject in code.stack_before,
        len(code.stack_after),
    )
    for code in pickletools.opcodes
}


def plan_of_archive(path: Path) -> Any:
    """Read what a `torch.save` file holds, with a `TensorPlan` in place of each tensor.

    Its pickle may use only the few instructions that plain data and tensors need, and no function but the one that
    builds a tensor, which is never called here. So a file that passes can be loaded with
    `torch.load(weights_only=True)`, and does not need much more memory than its size.
    """
    size = check_file(path)
    members = _members(path, size)
    with zipfile.ZipFile(path) as archive:
        pickled = archive.read(next(member for member in members if member.filename.endswith("/data.pkl")))
    if _check_opcodes(pickled) != len(pickled):
        raise ValueError("has data after its end")
    storages = {match["storage"]: member.file_size for member in members if (match := _match(member))["storage"]}
    reader = _PlanReader(pickled, storages)
    plan = check_plain(reader.load())
    if reader.total > 2 * size:
        raise ValueError(f"claims {reader.total} bytes of tensors in a file of {size}")
    return plan


def plan_of_stream(path: Path) -> Any:
    """As `plan_of_archive`, for a file that `torch.save` wrote before torch 1.6: five pickles, then the values.

    The pickles are a magic number, a version, the kind of machine, the contents, and the storages' names in order.
    """
    size = check_file(path)
    with path.open("rb") as file:
        beginning = file.read(_PICKLE_LIMIT)
    if beginning[:2] != b"\x80\x02":
        raise ValueError("is not a file as torch.save writes it")
    parts, position = [], 0
    for _ in range(5):
        length = _check_opcodes(beginning[position:])
        reader = _StreamReader(beginning[position : position + length], size)
        parts.append((reader.load(), reader))
        position += length
        if parts[0][0] != _MAGIC:
            raise ValueError("is not a file as torch.save writes it")
    (_, _), (protocol, _), (machine, _), (contents, holder), (names, _) = parts
    if protocol != _PROTOCOL or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("was written by another version of torch, or on a big-endian machine")
    if not isinstance(names, list) or sorted(map(str, names)) != sorted(holder.storages):
        raise ValueError("does not hold the tensors that it names")
    with path.open("rb") as file:
        for name in names:
            file.seek(position)
            if struct.unpack("<q", file.read(8).ljust(8, b"\0"))[0] != holder.numbers[name]:
                raise ValueError(f"claims a storage of {holder.numbers[name]} numbers that is not in the file")
            position += 8 + holder.storages[name]
    if position != size or holder.total > 2 * size:
        raise ValueError("is cut off, has data after its end, or claims more tensors than it has")
    return check_plain(contents)


def check_sums(path: Path) -> None:
    """Check an archive's checksums, which `torch.load` does not do."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"is damaged: the checksum of {damaged} differs")


def _members(path: Path, size: int) -> list[zipfile.ZipInfo]:
    """List an archive's files, checked to be as `torch.save` writes them: nothing compressed, hidden or duplicated."""
    count, directory = _directory(path, size)
    if count > _MEMBERS_LIMIT or directory > 256 * _MEMBERS_LIMIT:
        raise ValueError(f"is an archive of {count} files; a checkpoint has at most {_MEMBERS_LIMIT}")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) != count:
        raise ValueError(f"is an archive that says it has {count} files, and has {len(members)}")
    names = {member.filename.lower() for member in members}
    roots = {_match(member)["root"] for member in members}
    if len(names) < len(members) or len(roots) != 1 or f"{next(iter(roots))}/data.pkl" not in names:
        raise ValueError("is an archive with duplicate files, or without data.pkl")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(f"is an archive in which {member.filename} is compressed; torch.save does not do that")
        if member.flag_bits & 1:
            raise ValueError(f"is an archive in which {member.filename} is encrypted")
        if member.filename.endswith("/data.pkl") and member.file_size > _PICKLE_LIMIT:
            raise ValueError(f"has a description of {member.file_size} bytes; a checkpoint has at most {_PICKLE_LIMIT}")
    in_order = sorted(members, key=lambda member: member.header_offset)
    ends = [member.header_offset for member in in_order[1:]] + [size - directory]
    for member, end in zip(in_order, ends, strict=True):
        if member.header_offset + 30 + len(member.filename) + member.file_size > end:
            raise ValueError(f"is an archive in which {member.filename} reaches into the next file")
    return members


def _match(member: zipfile.ZipInfo) -> re.Match[str]:
    match = _MEMBER.fullmatch(member.filename)
    if match is None or match["root"].strip(".") == "":
        raise ValueError(f"is an archive that holds {member.filename[:80]!a}, which no checkpoint has")
    return match


def _directory(path: Path, size: int) -> tuple[int, int]:
    """Read the number of files in a zip archive and the size of its directory from its end."""
    with path.open("rb") as file:
        beginning = file.read(4)
        file.seek(max(0, size - 98))
        end = file.read()
    if beginning != b"PK\x03\x04" or end[-22:-18] != b"PK\x05\x06":
        raise ValueError("is not an archive as torch.save writes it")
    behind = 22
    here, count, length, offset = struct.unpack("<HHLL", end[-14:-2])
    if end[-42:-38] == b"PK\x06\x07":  # the same in 64 bits
        if end[-98:-94] != b"PK\x06\x06":
            raise ValueError("is not an archive as torch.save writes it")
        behind = 98
        here, count, length, offset = struct.unpack("<4Q", end[-74:-42])
    if here != count or offset + length + behind != size:
        raise ValueError("is an archive in parts, or with data before or after it")
    return count, length


def _check_opcodes(pickled: bytes) -> int:
    """Check the instructions of the pickle at the beginning, and return its length in bytes."""
    memorised = 0
    length = 0
    keys = _KeyCheck()
    for count, (opcode, argument, position) in enumerate(pickletools.genops(pickled)):
        if count > 4 * VALUES_LIMIT:
            raise ValueError(f"holds more than {4 * VALUES_LIMIT} pickle instructions")
        if opcode.name not in _INSTRUCTIONS or (opcode.name == "PROTO" and argument != 2):
            raise ValueError(f"holds the pickle instruction {opcode.name}, which plain data does not need")
        if opcode.name in ("BINPUT", "LONG_BINPUT"):
            memorised += 1
            if not isinstance(argument, int) or argument > memorised:  # the reader would allocate a memo of this size
                raise ValueError(f"numbers its {memorised}th object {argument}")
        keys.step(opcode.name, argument)
        length = (position or 0) + 1
    return length


class _KeyCheck:
    """Follows a pickle's stack, and checks the keys of its dicts before anything computes their hashes.

    Python's hashes of numbers can be chosen so that all of them collide, and filling a dict then takes quadratic time.
    Those of text are secret. So keys are text, or small numbers, and few.
    """

    _MARK, _OTHER = object(), object()

    def __init__(self) -> None:
        self._stack: list[Any] = []  # text and whole numbers as they are
        self._memo: dict[int, Any] = {}
        self._numbered = 0

    def step(self, name: str, argument: Any) -> None:
        """Do to the stack what an instruction does, one of `_INSTRUCTIONS`."""
        if name in _PUSHING:
            self._stack.append(argument if isinstance(argument, str | int) else self._OTHER)
        elif name == "MARK":
            self._stack.append(self._MARK)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._pop(1)[0]
            self._stack.append(self._memo[argument])
        elif name in ("BINGET", "LONG_BINGET"):
            if argument not in self._memo:
                raise ValueError(f"refers to its object {argument}, which it has not numbered")
            self._stack.append(self._memo[argument])
        else:
            popped, marked, pushed = _EFFECTS[name]
            items = self._pop_to_mark() if marked else []
            items = self._pop(popped) + items
            if name in ("SETITEM", "SETITEMS"):
                for key in items[1::2]:
                    self._check(key)
            self._stack += [self._OTHER] * pushed

    def _pop(self, count: int) -> list[Any]:
        popped = self._stack[len(self._stack) - count :] if count else []
        if len(popped) < count or self._MARK in popped:
            raise ValueError("holds a pickle instruction that takes more than there is")
        del self._stack[len(self._stack) - count :]
        return popped

    def _pop_to_mark(self) -> list[Any]:
        popped: list[Any] = []
        while self._stack and self._stack[-1] is not self._MARK:
            popped.append(self._stack.pop())
        if not self._stack:
            raise ValueError("holds a pickle instruction that takes more than there is")
        self._stack.pop()
        return popped[::-1]

    def _check(self, key: Any) -> None:
        if isinstance(key, str):
            return
        if not isinstance(key, int):
            raise ValueError("holds a name that is neither text nor a number")
        self._numbered += 1
        if not 0 <= key < _NUMBERED_LIMIT or self._numbered > _NUMBERED_LIMIT:
            raise ValueError(f"has numbers above {_NUMBERED_LIMIT} as names, or more of them; refused")


class _OrderedDict(dict):
    """Stands in for `collections.OrderedDict`, whose attributes a pickle may set."""

    def __init__(self, *items: Any) -> None:
        if items:
            raise ValueError("fills a dict in one call, which torch.save does not do")
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or state.keys() - {"_metadata"}:
            raise ValueError("sets attributes of a dict")
        check_plain(state)


class _Storage(NamedTuple):
    dtype: torch.dtype
    numel: int


class _PlanReader(pickle.Unpickler):
    """Reads a pickle whose instructions were checked; builds no tensor, and calls only the functions defined here."""

    def __init__(self, pickled: bytes, storages: dict[str, int]) -> None:
        super().__init__(io.BytesIO(pickled))
        self.storages = storages
        self.total = 0

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name == "torch" and global_name in _STORAGES:
            return _STORAGES[global_name]
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return _OrderedDict
        if (module_name, global_name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        raise ValueError(f"names {module_name[:40]!a}, {global_name[:40]!a}, which is neither plain data nor a tensor")

    def persistent_load(self, pid: Any, /) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage" or not isinstance(pid[1], torch.dtype):
            raise ValueError("refers to something that is not a tensor's storage")
        _, dtype, key, place, numel = pid
        if not isinstance(place, str) or not re.fullmatch(r"(cpu|cuda|mps|xpu)(:\d{1,2})?", place):
            raise ValueError(f"holds a tensor of the device {str(place)[:40]!a}")
        size = self.storages.get(key) if isinstance(key, str) else None
        if not _whole(numel) or size != numel * dtype.itemsize:
            raise ValueError(f"claims a storage of {numel} numbers that is not in the archive")
        return _Storage(dtype, numel)

    def _tensor(
        self, storage: Any, offset: Any, shape: Any, stride: Any, gradient: Any, hooks: Any, metadata: Any = None
    ) -> TensorPlan:
        if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
            raise ValueError("builds a tensor without a storage")
        if not all(map(_whole, (offset, *shape, *stride))) or len(shape) != len(stride) or len(shape) > 8:
            raise ValueError("builds a tensor of an invalid shape")
        if gradient is not False or hooks or metadata:
            raise ValueError("builds a tensor with hooks")
        numel = math.prod(shape)
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if numel else -1
        if numel > storage.numel or last >= storage.numel:
            raise ValueError(f"claims a tensor of shape {shape} that is not in the archive")
        plan = TensorPlan(storage.dtype, shape)
        self.total += plan.num_bytes
        return plan


class _StreamReader(_PlanReader):
    """Reads one of the pickles of `plan_of_stream`, and collects its storages."""

    def __init__(self, pickled: bytes, size: int) -> None:
        super().__init__(pickled, {})
        self.numbers: dict[str, int] = {}
        self._left = size

    def persistent_load(self, pid: Any, /) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) != 6 or pid[5] is not None:
            raise ValueError("refers to something that is not a tensor's storage")
        _, dtype, key, _, numel, _ = pid
        if isinstance(key, str) and isinstance(dtype, torch.dtype) and _whole(numel) and key not in self.storages:
            self.storages[key], self.numbers[key] = numel * dtype.itemsize, numel
            self._left -= self.storages[key]
            if self._left < 0:
                raise ValueError("claims more tensors than fit into the file")
        return super().persistent_load(pid[:5])


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48
