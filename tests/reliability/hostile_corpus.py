"""Files that were made to do harm: checkpoints, saved models and runs, each one attack on a good one."""

import copy
import json
import os
import pickle
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

GOOD = "good"  # the kind of those that must be accepted
TERABYTE = 2**40


@dataclass(frozen=True)
class Case:
    """One attack.

    Attributes:
        kind: Of which kind it is.
        name: What it does.
        command: "load" or "resume": who is given the file.
        path: The file or folder.
    """

    kind: str
    name: str
    command: str
    path: Path


def corpus(
    good_model: Path, good_run: Path, folder: Path, canary: Path, wanted: Callable[[str, str], bool]
) -> Iterator[Case]:
    """Write the corpus, each case when it is asked for.

    Args:
        good_model: A saved model with a speaker and a mel conditioner.
        good_run: A run of such a model.
        folder: Where to put the corpus.
        canary: A file that the payloads would make.
        wanted: Whether a case of this kind and name is wanted.
    """
    maker = _Maker(good_model, good_run, folder, canary, wanted)
    for kind, make in {
        GOOD: _good,
        "pickle opcodes": _pickle_opcodes,
        "pickle gadgets": _pickle_gadgets,
        "tensors that lie": _tensors,
        "archives": _archives,
        "targets in config.json": _targets,
        "json": _json,
        "metadata": _metadata,
        "sizes": _sizes,
        "safetensors": _safetensors,
        "states of a run": _states,
        "config.yaml": _yaml,
        "paths of a run": _paths,
    }.items():
        maker.kind = kind
        yield from make(maker)


class _Maker:
    def __init__(
        self, good_model: Path, good_run: Path, folder: Path, canary: Path, wanted: Callable[[str, str], bool]
    ) -> None:
        self.model, self.run, self.folder, self.kind = good_model, good_run, folder, ""
        self._wanted = wanted
        self.payload = f"touch {canary}"
        self.canary = canary
        self.checkpoint = good_run / "checkpoints" / "last.ckpt"
        self.contents: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
        with zipfile.ZipFile(self.checkpoint) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        self.pickled = next(data for name, data in self.members.items() if name.endswith("data.pkl"))
        self._count = 0

    def place(self) -> Path:
        self._count += 1
        path = self.folder / f"{self._count:03d}"
        path.mkdir(parents=True)
        return path

    def case(self, name: str, command: str, write: Callable[[Path], Path]) -> Iterator[Case]:
        """What `write` writes in a folder of its own, which is removed when the case was tried."""
        if self._wanted(self.kind, name):
            place = self.place()
            yield Case(self.kind, name, command, write(place))
            shutil.rmtree(place)

    def saved(self, name: str, change: Callable[[Path], object]) -> Iterator[Case]:
        """A copy of the saved model, changed."""

        def write(place: Path) -> Path:
            shutil.copytree(self.model, place / "model")
            change(place / "model")
            return place / "model"

        yield from self.case(name, "load", write)

    def config(self, name: str, change: Callable[[dict], object]) -> Iterator[Case]:
        """A saved model with another config.json, and the same in a training checkpoint."""

        def edit(folder: Path) -> None:
            config = json.loads((folder / "config.json").read_text())
            change(config["model"])
            (folder / "config.json").write_text(json.dumps(config))

        yield from self.saved(name, edit)

        def edit_contents(contents: dict[str, Any]) -> None:
            change(contents["wavenet"]["model"])

        yield from self.state(f"{name} (.ckpt)", edit_contents, ("load",))

    def text(self, name: str, text: str | bytes) -> Iterator[Case]:
        """A saved model with this for a config.json."""
        data = text if isinstance(text, bytes) else text.encode()
        yield from self.saved(name, lambda folder: (folder / "config.json").write_bytes(data))

    def weights(self, name: str, change: Callable[[Path], object]) -> Iterator[Case]:
        """A saved model whose weights' file is changed."""
        yield from self.saved(name, lambda folder: change(folder / "model.safetensors"))

    def resumed(self, name: str, change: Callable[[Path], object]) -> Iterator[Case]:
        """A copy of the run, changed."""

        def write(place: Path) -> Path:
            shutil.copytree(self.run, place / "run")
            change(place / "run")
            return place / "run"

        yield from self.case(name, "resume", write)

    def file(
        self, name: str, write: Callable[[Path], object], commands: tuple[str, ...] = ("load", "resume")
    ) -> Iterator[Case]:
        """A training checkpoint, loaded by itself and resumed with a run around it."""

        def alone(place: Path) -> Path:
            write(place / "last.ckpt")
            return place / "last.ckpt"

        if "load" in commands:
            yield from self.case(name, "load", alone)
        if "resume" in commands:
            yield from self.resumed(name, lambda run: write(run / "checkpoints" / "last.ckpt"))

    def state(
        self, name: str, change: Callable[[dict], object], commands: tuple[str, ...] = ("resume",)
    ) -> Iterator[Case]:
        """A checkpoint with other contents."""

        def write(path: Path) -> None:
            contents = copy.deepcopy(self.contents)
            change(contents)
            torch.save(contents, path)

        yield from self.file(name, write, commands)

    def yaml(self, name: str, change: Callable[[dict], object]) -> Iterator[Case]:
        """A run with another config.yaml."""

        def edit(run: Path) -> None:
            config = yaml.safe_load((run / "config.yaml").read_text())
            change(config)
            (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

        yield from self.resumed(name, edit)

    def archive(self, path: Path, pickled: bytes | None = None, **options: Any) -> None:
        """Write the good checkpoint's archive with another pickle in it."""
        with zipfile.ZipFile(path, "w", **options) as archive:
            for name, data in self.members.items():
                archive.writestr(name, pickled if name.endswith("data.pkl") and pickled is not None else data)

    def with_value(self, value: bytes) -> bytes:
        """The good checkpoint's pickle with one more entry, made by these opcodes."""
        return self.pickled[:-1] + text_opcode("more") + value + b"s."


def text_opcode(text: str) -> bytes:
    """The opcode of a string."""
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _good(m: _Maker) -> Iterator[Case]:
    yield from m.saved("a saved model", lambda folder: None)
    yield from m.state("a training checkpoint", lambda contents: None, ("load", "resume"))
    yield from m.resumed("a run that was moved", lambda run: None)
    yield from m.file("an archive written by another program", m.archive)
    yield from m.state(
        "more plain entries", lambda c: c.update(more={"a": [1, 2.5, None, True, "x"], "t": torch.ones(3)})
    )


def _pickle_opcodes(m: _Maker) -> Iterator[Case]:
    command = m.payload.encode()
    text = text_opcode(m.payload)
    numel = next(iter(m.contents["state_dict"].values())).numel()
    storage = text_opcode("storage") + b"ctorch\nFloatStorage\n" + text_opcode("0") + text_opcode("cpu")
    storage = b"(" + storage + b"J" + struct.pack("<i", numel) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0K\1\x85K\1\x85\x89ccollections\nOrderedDict\n)RtR"
    short = b"\x8c" + bytes([len(command)]) + command
    ways = {
        "GLOBAL REDUCE": b"cos\nsystem\n" + text + b"\x85R",
        "GLOBAL REDUCE of posix": b"cposix\nsystem\n" + text + b"\x85R",
        "GLOBAL REDUCE of nt": b"cnt\nsystem\n" + text + b"\x85R",
        "INST": b"(S'" + command + b"'\nios\nsystem\n",
        "OBJ": b"(cos\nsystem\nS'" + command + b"'\no",
        "NEWOBJ": b"csubprocess\nPopen\n" + text + b"\x85\x81",
        "NEWOBJ_EX": b"csubprocess\nPopen\n" + text + b"\x85}X\x05\x00\x00\x00shell\x88s\x92",
        "STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93" + text + b"\x85R",
        "STACK_GLOBAL with a dotted name": b"\x8c\x07logging\x8c\x09os.system\x93" + short + b"\x85R",
        "BUILD": b"ctypes\nSimpleNamespace\n)R}X\x01\x00\x00\x00acos\nsystem\nsb",
        "BUILD of a dict's attributes": b"ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00items" + text + b"sb",
        "BUILD of a tensor": tensor + b"N)\x86b",
        "EXT1": b"\x82\x01",
        "EXT4": b"\x84\x01\x00\x00\x00",
        "PERSID": b"Pstorage\n",
        "BINPERSID of a name": text + b"Q",
        "BYTEARRAY8 of a terabyte": b"\x96" + struct.pack("<Q", TERABYTE),
        "BINBYTES8 of a terabyte": b"\x8e" + struct.pack("<Q", TERABYTE),
        "BINUNICODE of 4 GB": b"X" + struct.pack("<I", 2**32 - 1),
        "LONG4 of 2 GB": b"\x8b" + struct.pack("<i", 2**31 - 1),
        "LONG_BINPUT with a huge index": b"Nr" + struct.pack("<I", 2**32 - 2),
        "LONG_BINGET of nothing": b"j\xff\xff\xff\x7f",
        "DUP": b"}2s",
        "POP": b"N0",
        "an opcode that there is not": b"\xff",
        "no STOP": b"N" * 20,
    }
    for name, opcodes in ways.items():
        pickled = m.with_value(opcodes) if name != "no STOP" else m.pickled[:-1] + opcodes
        yield from m.file(name, lambda path, pickled=pickled: m.archive(path, pickled))
        yield from m.file(
            f"{name}, no archive", lambda path, o=opcodes: path.write_bytes(b"\x80\x02" + o + b"."), ("load",)
        )
    yield from m.file("another protocol", lambda path: m.archive(path, b"\x80\x05" + m.pickled[2:]))
    yield from m.file("something behind STOP", lambda path: m.archive(path, m.pickled + m.pickled))
    yield from m.file("an empty pickle", lambda path: m.archive(path, b""))
    laughs = b"]q\x01" + b"".join(
        b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(1, 60)
    )
    nested = b"]" * 5000 + b"a" * 4999
    itself = b"]q\xf0h\xf0a"
    million = b"](" + b"N" * 2_000_000 + b"e"
    long = b"\x8a\xff" + b"\x7f" * 255
    for name, value in {
        "names whose hashes collide": b"}(" + _colliding(b"%sN") + b"u",
        "names whose hashes collide, in lists": b"}(" + _colliding(b"%s\x85N") + b"u",
        "pairs whose hashes collide": b"ccollections\nOrderedDict\n](" + _colliding(b"%sN\x86") + b"e\x85R",
        "lists of lists of lists twice": laughs,
        "lists 5000 deep": nested,
        "a list in itself": itself,
        "two million values": million,
        "a number of 2000 bits": long,
        "NaN for a name": b"}G\x7f\xf8\0\0\0\0\0\0Ns",
    }.items():
        pickled = m.with_value(value)
        yield from m.file(name, lambda path, pickled=pickled: m.archive(path, pickled))


def _colliding(entry: bytes, count: int = 130_000) -> bytes:
    """Pickled multiples of 2^61 - 1, which have one hash in Python; `entry` is put around each. About 1.7 MB."""
    numbers = (b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") for k in range(1, count + 1))
    return b"".join(entry.replace(b"%s", number) for number in numbers)


def _pickle_gadgets(m: _Maker) -> Iterator[Case]:
    code = f"__import__('os').system('{m.payload}')"
    calls: dict[str, tuple[Any, ...]] = {
        "builtins eval": (code,),
        "builtins exec": (code,),
        "__builtin__ eval": (code,),
        "builtins __import__": ("os",),
        "builtins getattr": ("os", "system"),
        "builtins open": (str(m.canary), "w"),
        "builtins bytearray": (TERABYTE,),
        "builtins set": ("abc",),
        "builtins complex": (1,),
        "subprocess Popen": (["/bin/sh", "-c", m.payload],),
        "subprocess check_output": (["/bin/sh", "-c", m.payload],),
        "os execv": ("/bin/sh", ["sh", "-c", m.payload]),
        "os remove": (str(m.checkpoint),),
        "os mkdir": (str(m.canary),),
        "shutil rmtree": (str(m.run),),
        "pathlib Path": (str(m.canary),),
        "pty spawn": ("/bin/sh",),
        "socket create_connection": (("localhost", 9),),
        "webbrowser open": ("http://localhost:9/",),
        "importlib import_module": ("os",),
        "runpy run_path": (str(m.canary),),
        "timeit timeit": (code,),
        "code InteractiveInterpreter": (),
        "pickle loads": (pickle.dumps(1),),
        "functools partial": ("os.system", m.payload),
        "operator methodcaller": ("system", m.payload),
        "operator attrgetter": ("system",),
        "_codecs encode": ("x" * 10, "latin1"),
        "collections Counter": ("abc",),
        "collections defaultdict": (),
        "numpy load": (str(m.canary),),
        "numpy.core.multiarray _reconstruct": (),
        "torch load": (str(m.checkpoint),),
        "torch.hub load": ("somebody/something", "model"),
        "torch.hub load_state_dict_from_url": ("http://localhost:9/",),
        "torch.serialization load": (str(m.checkpoint),),
        "torch.storage _load_from_bytes": (pickle.dumps(1),),
        "torch.jit load": (str(m.checkpoint),),
        "torch.utils.cpp_extension load_inline": ("x", "int main;"),
        "torch.ops load_library": ("/tmp/evil.so",),
        "torch.classes load_library": ("/tmp/evil.so",),
        "ctypes CDLL": ("/tmp/evil.so",),
        "torch Tensor": (TERABYTE,),
        "torch FloatStorage": (TERABYTE,),
        "torch Size": ([TERABYTE],),
        "torch device": ("cuda",),
        "torch.nn.parameter Parameter": (),
        "torch._utils _rebuild_parameter": (1, 2, 3),
        "torch._utils _rebuild_wrapper_subclass": (1, 2, 3),
        "torch._utils _rebuild_meta_tensor_no_storage": (1, 2, 3),
        "torch._utils _rebuild_device_tensor_from_numpy": (1, 2, 3),
        "torch._tensor _rebuild_from_type_v2": (1, 2, 3, 4),
        "hydra.utils instantiate": ({"_target_": "os.system", "command": m.payload},),
        "hydra._internal.utils _locate": ("os.system",),
        "omegaconf OmegaConf": (),
        "lightning.pytorch Trainer": (),
        "wavenet.checkpoint build": ({"_target_": "os.system"},),
        "wavenet.model WaveNet": (),
    }
    for name, arguments in calls.items():
        module, function = name.split()
        value = f"c{module}\n{function}\n".encode() + pickle.dumps(arguments, protocol=2)[2:-1] + b"R"
        commands = ("load", "resume") if module in ("builtins", "subprocess", "torch") else ("load",)
        yield from m.file(name, lambda path, v=value: m.archive(path, m.with_value(v)), commands)


def _tensors(m: _Maker) -> Iterator[Case]:
    name = next(iter(m.contents["state_dict"]))
    shape = m.contents["state_dict"][name].shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        liars = {
            "a terabyte by stride 0": torch.zeros(1).expand(TERABYTE),
            "sparse, a terabyte": torch.sparse_coo_tensor(
                torch.zeros(1, 1, dtype=torch.int64), torch.ones(1), (TERABYTE,)
            ),
            "on the meta device": torch.empty(shape, device="meta"),
            "a terabyte on the meta device": torch.empty(TERABYTE, device="meta"),
            "a parameter": torch.nn.Parameter(torch.zeros(shape)),
            "quantised": torch.quantize_per_tensor(torch.zeros(shape), 0.1, 0, torch.qint8),
            "nested": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
            "complex": torch.zeros(shape, dtype=torch.complex64),
            "8 bits": torch.zeros(shape, dtype=torch.float8_e4m3fn),
            "whole numbers": torch.zeros(shape, dtype=torch.int64),
            "truth": torch.zeros(shape, dtype=torch.bool),
            "another shape": torch.zeros(3, 3),
            "no shape": torch.tensor(1.0),
            "NaN": torch.full(shape, float("nan")),
            "infinite": torch.full(shape, float("inf")),
            "another type than the rest": torch.zeros(shape, dtype=torch.float16),
            "no tensor": "weights",
            "None": None,
        }
    for what, liar in liars.items():
        yield from m.state(what, lambda c, liar=liar: c["state_dict"].update({name: liar}), ("load", "resume"))
    for what, change in {
        "a missing weight": lambda c: c["state_dict"].pop(name),
        "one weight too many": lambda c: c["state_dict"].update({"model.more": torch.ones(2)}),
        "a list of weights": lambda c: c.update(state_dict=[torch.ones(2)]),
        "no weights": lambda c: c.pop("state_dict"),
        "no description": lambda c: c.pop("wavenet"),
        "a description of nothing": lambda c: c.update(wavenet=None),
        "100 MB beside the weights": lambda c: c.update(more=torch.zeros(25 * 2**20)),
    }.items():
        yield from m.state(what, change, ("load", "resume"))
    for what, before, after in (
        ("a storage of other numbers", b"FloatStorage", b"DoubleStorage"),
        ("a storage that is not there", b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x00z"),
        ("a storage in another file", b"X\x01\x00\x00\x000", b"X\x04\x00\x00\x00../0"),
        ("a device that there is not", b"X\x03\x00\x00\x00cpu", b"X\x04\x00\x00\x00evil"),
        ("another function", b"_rebuild_tensor_v2", b"_rebuild_tensor_v3"),
    ):
        pickled = m.pickled.replace(before, after, 1)
        assert pickled != m.pickled, what
        yield from m.file(what, lambda path, pickled=pickled: m.archive(path, pickled))


def _archives(m: _Maker) -> Iterator[Case]:
    root = next(iter(m.members)).partition("/")[0]

    def added(name: str, data: bytes = b"x", **options: Any) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            m.archive(path)
            with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
                warnings.simplefilter("ignore")
                archive.writestr(name, data, **options)

        return write

    def patched(field: int, form: str, value: int, central: bool = True) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            m.archive(path)
            data = bytearray(path.read_bytes())
            place = (data.index(b"PK\x01\x02") if central else data.rindex(b"PK\x05\x06")) + field
            struct.pack_into(form, data, place, value)
            path.write_bytes(data)

        return write

    def many(path: Path) -> None:
        m.archive(path)
        with zipfile.ZipFile(path, "a") as archive:
            for number in range(40_000):
                archive.writestr(f"{root}/data/{number + 10**6}", b"")

    def huge(path: Path) -> None:
        m.archive(path)
        with path.open("r+b") as file:
            file.truncate(TERABYTE)

    for name, write in {
        "a bomb": added(f"{root}/data/999999", bytes(300 * 2**20), compress_type=zipfile.ZIP_DEFLATED, compresslevel=1),
        "all compressed": lambda path: m.archive(path, compression=zipfile.ZIP_DEFLATED),
        "by LZMA": added(f"{root}/data/999999", bytes(1000), compress_type=zipfile.ZIP_LZMA),
        "by BZIP2": added(f"{root}/data/999999", bytes(1000), compress_type=zipfile.ZIP_BZIP2),
        "a second data.pkl": added(f"{root}/data.pkl", b"cos\nsystem\n."),
        "a second DATA.PKL": added(f"{root}/DATA.PKL", b"cos\nsystem\n."),
        "two roots": added("other/data/0"),
        "a name with ..": added(f"{root}/../../evil"),
        "a root of ..": added("../data/0"),
        "an absolute name": added("/etc/evil"),
        "a name with a backslash": added("..\\data/0"),
        "TorchScript's code": added(f"{root}/code/__torch__.py"),
        "TorchScript's constants": added(f"{root}/constants.pkl"),
        "a size that lies": patched(24, "<L", 2**31),
        "both sizes lie": lambda path: (patched(24, "<L", 2**30)(path), _patch(path, 20, 2**30)),
        "encrypted": patched(8, "<H", 1),
        "an offset that lies": patched(42, "<L", 2**31),
        "two files in one place": patched(42, "<L", 60),
        "a directory that lies": patched(12, "<L", 2**31, central=False),
        "a count that lies": patched(8, "<H", 9, central=False),
        "40000 files": many,
        "a terabyte of nothing behind it": huge,
        "something before it": lambda path: (m.archive(path), path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())),
        "something behind it": lambda path: (m.archive(path), path.write_bytes(path.read_bytes() + b"\0" * 100)),
        "no files": lambda path: zipfile.ZipFile(path, "w").close(),
        "a flipped bit in a weight": lambda path: _flip(path, m.checkpoint),
        "no pickle": lambda path: _zip(path, {f"{root}/version": b"3"}),
        "half of it": lambda path: path.write_bytes(m.checkpoint.read_bytes()[:20_000]),
        "an empty file": lambda path: path.write_bytes(b""),
        "noise": lambda path: path.write_bytes(bytes(range(256)) * 100),
        "the format before archives": lambda path: torch.save(m.contents, path, _use_new_zipfile_serialization=False),
        "a tar": lambda path: _tar(path, m.checkpoint),
    }.items():
        yield from m.file(name, lambda path, write=write: (path.unlink(missing_ok=True), write(path)))


def _flip(path: Path, good: Path) -> None:
    data = bytearray(good.read_bytes())
    with zipfile.ZipFile(good) as archive:
        weights = next(member for member in archive.infolist() if member.filename.endswith("data/0"))
    data[weights.header_offset + 1000] ^= 1
    path.write_bytes(data)


def _patch(path: Path, field: int, value: int) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\x01\x02") + field, value)
    path.write_bytes(data)


def _zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def _tar(path: Path, content: Path) -> None:
    import tarfile

    with tarfile.open(path, "w") as archive:
        archive.add(content, "../../evil")


TARGETS = [
    "os.system",
    "posix.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "eval",
    "logging.os.system",
    "wavenet.checkpoint.os.system",
    "wavenet.checkpoint.shutil.rmtree",
    "wavenet.model.torch.hub.load",
    "wavenet.model.nn.Linear",
    "wavenet.model.Tensor",
    "wavenet.nn.causal_conv.F",
    "wavenet.data.vctk.VCTK",
    "wavenet.cli.train.main",
    "wavenet..model.WaveNet",
    "wavenet.model.__builtins__",
    "../wavenet.model.WaveNet",
    "wavenet.model.WaveNet\n",
    "functools.partial",
    "hydra.utils.instantiate",
    "hydra.utils.call",
    "hydra.utils.get_method",
    "torch.load",
    "torch.hub.load",
    "${oc.env:HOME}",
    "",
    None,
    7,
    ["os.system"],
    {"_target_": "os.system"},
]


def _targets(m: _Maker) -> Iterator[Case]:
    for target in TARGETS:
        yield from m.config(f"{target!r}", lambda c, t=target: c["distribution"].update(_target_=t))
    partial = {"_target_": "functools.partial", "_args_": [{"_target_": "os.system"}, m.payload], "_partial_": True}
    for name, change in {
        "as the model": lambda c: c.update(_target_="os.system", _args_=[m.payload]),
        "_args_": lambda c: c.update(_args_=[m.payload]),
        "_partial_": lambda c: c.update(_partial_=True),
        "_recursive_": lambda c: c.update(_recursive_=False),
        "_convert_": lambda c: c.update(_convert_="all"),
        "nested partials": lambda c: c.update(distribution=partial),
        "partials in a list": lambda c: c["conditioners"].update(speaker=[partial, [partial]]),
        "partials for a number": lambda c: c.update(residual_channels=partial),
        "partials for a name": lambda c: c["conditioners"]["speaker"].update(categories=[partial, partial]),
        "oc.env": lambda c: c.update(residual_channels="${oc.env:HOME}"),
        "oc.decode": lambda c: c.update(residual_channels="${oc.decode:8}"),
        "oc.create": lambda c: c.update(distribution="${oc.create:{_target_: os.system}}"),
        "hydra:runtime": lambda c: c.update(residual_channels="${hydra:runtime.cwd}"),
        "a reference": lambda c: c.update(residual_channels="${model.skip_channels}"),
        "a name with ..": lambda c: c.update(conditioners={"../x": c["conditioners"]["mel"]}),
        "a name with a slash": lambda c: c.update(conditioners=_file_features("../../x")),
        "a backslash": lambda c: c.update(conditioners=_file_features("..\\x")),
        "a speaker that is a list": lambda c: c["conditioners"]["speaker"].update(categories=[["a"], {"b": 1}, 3]),
        "a speaker with escape codes": lambda c: c["conditioners"]["speaker"].update(
            categories=["\x1b]0;evil\x07", "b"]
        ),
        "a name with half a letter": lambda c: c["conditioners"]["speaker"].update(categories=["\ud800", "b"]),
        "a name twice": lambda c: c["conditioners"]["speaker"].update(categories=["a", "a"]),
    }.items():
        yield from m.config(name, change)


def _file_features(name: str) -> dict[str, Any]:
    target = "wavenet.conditioning.file_features.FileConditioner"
    return {name: {"_target_": target, "name": name, "num_channels": 2, "condition_channels": 4}}


def _json(m: _Maker) -> Iterator[Case]:
    good = (m.model / "config.json").read_text()
    for name, text in {
        "nothing": "",
        "no JSON": "{",
        "a number": "1",
        "a list": "[]",
        "null": "null",
        "another version": good.replace('"format_version": 2', '"format_version": 99'),
        "no model": '{"format_version": 2}',
        "a model that is a name": '{"format_version": 2, "model": "wavenet.model.WaveNet"}',
        "100000 deep": "[" * 100_000 + "]" * 100_000,
        "100000 deep, in names": '{"a":' * 100_000 + "1" + "}" * 100_000,
        "40 deep": good.replace('"bias": true', '"bias": ' + "[" * 40 + "]" * 40),
        "4 MB of lists": "[" + "[]," * 1_300_000 + "[]]",
        "NaN": good.replace('"mean": -5.0', '"mean": NaN'),
        "Infinity": good.replace('"mean": -5.0', '"mean": Infinity'),
        "1e999": good.replace('"mean": -5.0', '"mean": 1e999'),
        "a million nines": good.replace('"sample_rate": 8000', '"sample_rate": ' + "9" * 1_000_000, 1),
        "4000 nines": good.replace('"sample_rate": 8000', '"sample_rate": ' + "9" * 4000, 1),
        "a name twice": good.replace('"bias": true', '"bias": true, "bias": false'),
        "a name of a megabyte": good.replace('"bias"', '"' + "x" * 2**20 + '"'),
        "the letter 0": good.replace('"bias"', '"bi\\u0000as"'),
        "a comment": "// " + good,
        "something behind it": good + "{}",
    }.items():
        assert text != good, name
        yield from m.text(name, text)
    yield from m.text("no UTF-8", b"\xff\xfe" + good.encode("utf-16-le"))
    yield from m.text("a pickle", pickle.dumps({"format_version": 2, "model": {}}))

    def sparse(folder: Path) -> None:
        with (folder / "config.json").open("r+b") as file:
            file.truncate(2**30)

    yield from m.saved("1 GB", sparse)
    yield from m.saved("a pipe", lambda folder: _instead(folder / "config.json", os.mkfifo))
    yield from m.saved("a folder", lambda folder: _instead(folder / "config.json", os.mkdir))
    for device in ("/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/kmsg"):
        yield from m.saved(
            f"a link to {device}", lambda folder, d=device: _instead(folder / "config.json", lambda p: os.symlink(d, p))
        )
    yield from m.saved("a link to itself", lambda folder: _instead(folder / "config.json", lambda p: os.symlink(p, p)))


def _instead(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def _metadata(m: _Maker) -> Iterator[Case]:
    """What a model says about how it was made, which is printed on cards."""
    deep: Any = []
    for _ in range(25):
        deep = [deep]
    for name, metadata in {
        "a list": [],
        "a number": 1,
        "an escape sequence": {"data": {"name": "\x1b[2J"}},
        "a name that turns round": {"data": {"name": "\u202e"}},
        "a name in two lines": {"data": {"licences": [{"name": "x\u2028y"}]}},
        "an entry that cannot be seen": {"\u200b": 1},
        "half a letter": {"x": "\ud800"},
        "a megabyte": {"x": ["y" * 4000] * 250},
        "ten thousand lists": {"x": [[[]] for _ in range(30_000)]},
        "a bottomless list": {"x": [deep] * 4000},
        "a number that is none": {"validation": {"bits_per_sample": float("nan")}},
        "an infinite number": {"validation": {"bits_per_sample": float("inf")}},
        "an enormous number": {"validation": {"bits_per_sample": 10**400}},
    }.items():

        def edit(folder: Path, metadata: Any = metadata) -> None:
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(config | {"metadata": metadata}))

        yield from m.saved(name, edit)
        yield from m.state(f"{name} (.ckpt)", lambda c, a=metadata: c["wavenet"].update(metadata=a), ("load", "resume"))
    tensor = {"x": torch.zeros(3)}
    yield from m.state("a tensor (.ckpt)", lambda c: c["wavenet"].update(metadata=tensor), ("load", "resume"))


def _sizes(m: _Maker) -> Iterator[Case]:
    for number in (10**6, 10**9, 10**12, 2**62, -1, 0, 2.5, "8", True, None, [8], {"a": 8}):
        for name in ("residual_channels", "num_cycles", "dilation_cycle"):
            yield from m.config(f"{name}={number}", lambda c, name=name, number=number: c.update({name: number}))
    for name in (
        "gate_channels",
        "skip_channels",
        "condition_channels",
        "kernel_size",
        "input_kernel_size",
        "sample_rate",
    ):
        yield from m.config(f"{name}={10**12}", lambda c, name=name: c.update({name: 10**12}))
    for name, number in {
        "num_classes": 10**9,
        "embedding_channels": 10**9,
    }.items():
        yield from m.config(
            f"{name}={number}", lambda c, name=name, number=number: c["distribution"].update({name: number})
        )
    for name, value in {
        "n_fft": 10**10,
        "n_mels": 10**10,
        "hop_length": 10**10,
        "context_frames": 10**9,
        "hidden_channels": 10**9,
        "fmax": 1e300,
        "std": 0,
        "upsampling": "transposed",
        "dropout": 2,
    }.items():
        yield from m.config(
            f"mel {name}={value}", lambda c, name=name, value=value: c["conditioners"]["mel"].update({name: value})
        )
    for name, value in {
        "scales": [10**9, 4],
        "hold": 10**9,
        "freq_kernel_size": 10**9 + 1,
        "kind": "transposed ",
        "bias": 2,
        "_target_": "os.system",
    }.items():
        yield from m.config(
            f"mel upsampling {name}={value}",
            lambda c, name=name, value=value: c["conditioners"]["mel"]["upsampling"].update({name: value}),
        )
    mixture = "wavenet.distributions.gaussian_mixture.GaussianMixture"
    context = {"_target_": "wavenet.nn.context.ContextStack", "condition_channels": 4}
    for name, change in {
        "100000 stages of upsampling": lambda c: c["conditioners"]["mel"]["upsampling"].update(
            scales=[1] * 10**5, hold=64
        ),
        "the largest filter bank": lambda c: c["conditioners"]["mel"].update(n_fft=2**14, n_mels=2**9, fmax=4000),
        "the most encoding channels": lambda c: c["distribution"].update(num_classes=2**16, embedding_channels=2**12),
        "the most mixture channels": lambda c: c.update(
            distribution={
                "_target_": mixture,
                "num_mixtures": 2**10,
                "encoding_channels": 2**12,
                "bits": 16,
                "log_scale_min": -9.0,
            }
        ),
        "the most costly parts": lambda c: c.update(
            conditioners={f"x{i}": c["distribution"] | {"embedding_channels": 2**10} for i in range(20)}
        ),
        "the longest kernel": lambda c: c.update(kernel_size=2**10),
        "as many speakers as there may be": lambda c: c["conditioners"]["speaker"].update(
            categories=[str(i) for i in range(2**14)]
        ),
        "100000 speakers": lambda c: c["conditioners"]["speaker"].update(categories=[str(i) for i in range(10**5)]),
        "100000 speakers, one twice": lambda c: c["conditioners"]["speaker"].update(
            categories=[str(i % 99_999) for i in range(10**5)]
        ),
        "100 conditioners": lambda c: c.update(conditioners={f"x{i}": c["conditioners"]["mel"] for i in range(100)}),
        "encoding_channels of a mixture": lambda c: c.update(
            distribution={"_target_": mixture, "encoding_channels": 10**9}
        ),
        "num_mixtures": lambda c: c.update(distribution={"_target_": mixture, "num_mixtures": 10**9}),
        "a context's pool": lambda c: c.update(context=context | {"pool": 10**9}),
        "cycles of as many layers as the class has": lambda c: (c.pop("dilation_cycle"), c.update(num_cycles=500)),
        "numbers for a part that states no bounds": lambda c: c.update(
            context={
                "_target_": "wavenet.nn.stack.ResidualStack",
                "residual_channels": 1,
                "gate_channels": 2,
                "skip_channels": 1,
                "kernel_size": 2,
                "dilations": [1] * 100_000,
            }
        ),
        "a context's cycles": lambda c: c.update(context=context | {"num_cycles": 10**9}),
        "a long dilation": lambda c: c.update(dilation_cycle=60),
        "a distribution for a conditioner": lambda c: c["conditioners"].update(speaker=c["distribution"]),
        "a conditioner for a distribution": lambda c: c.update(distribution=c["conditioners"]["speaker"]),
        "a number for a distribution": lambda c: c.update(distribution=5),
        "a list of conditioners": lambda c: c.update(conditioners=[1]),
        "an unknown setting": lambda c: c.update(evil=1),
        "a missing setting": lambda c: c.pop("distribution"),
    }.items():
        yield from m.config(name, change)


def _safetensors(m: _Maker) -> Iterator[Case]:
    good = (m.model / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", good[:8])[0]
    header: dict[str, Any] = json.loads(good[8 : 8 + length])
    first = next(name for name in header if name != "__metadata__")

    def with_header(text: str, claimed: int | None = None) -> Callable[[Path], object]:
        data = text.encode()
        claim = struct.pack("<Q", len(data) if claimed is None else claimed)
        return lambda path: path.write_bytes(claim + data + good[8 + length :])

    def changed(**change: Any) -> Callable[[Path], object]:
        return with_header(json.dumps(header | {first: header[first] | change}))

    def large(size: int, claimed: int) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            with path.open("wb") as file:
                file.write(struct.pack("<Q", claimed) + b"{")
                file.truncate(size)

        return write

    whole = json.dumps(header)
    shape, offsets = header[first]["shape"], header[first]["data_offsets"]
    for name, write in {
        "a header of 2**63 bytes": with_header(whole, 2**63),
        "a header of 2**64 - 1 bytes": with_header(whole, 2**64 - 1),
        "a header of 0 bytes": with_header(whole, 0),
        "a header of 1 byte less": with_header(whole, len(whole) - 1),
        "a header of 90 MB": large(100 * 2**20, 90 * 2**20),
        "a header of 1 GB": large(2**30 + 100, 2**30),
        "no header": lambda path: path.write_bytes(b""),
        "7 bytes": lambda path: path.write_bytes(good[:7]),
        "half of it": lambda path: path.write_bytes(good[: len(good) // 2]),
        "a byte less": lambda path: path.write_bytes(good[:-1]),
        "a byte more": lambda path: path.write_bytes(good + b"x"),
        "a terabyte more": lambda path: (path.write_bytes(good), os.truncate(path, TERABYTE)),
        "no JSON": with_header("x" * len(whole)),
        "a list": with_header("[]"),
        "no tensors": with_header("{}"),
        "deep": with_header("[" * 10_000 + "]" * 10_000),
        "NaN": lambda path: path.write_bytes(good[: 8 + length] + b"\xff" * (len(good) - 8 - length)),
        "another type": changed(dtype="I32"),
        "8 bits": changed(dtype="F8_E4M3"),
        "no type": changed(dtype="EVIL"),
        "a shape of a terabyte": changed(shape=[2**40]),
        "a shape that overflows": changed(shape=[2**32, 2**32, 2**32]),
        "another shape": changed(shape=[*shape[::-1], 1]),
        "a negative shape": changed(shape=[-1]),
        "offsets beyond": changed(data_offsets=[0, 2**40]),
        "offsets backwards": changed(data_offsets=offsets[::-1]),
        "offsets that overlap": with_header(
            json.dumps(
                {
                    name: (info | {"data_offsets": offsets} if name != "__metadata__" else info)
                    for name, info in header.items()
                }
            )
        ),
        "a missing tensor": with_header(json.dumps({name: info for name, info in header.items() if name != first})),
        "one tensor too many": with_header(
            json.dumps(header | {"more": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}})
        ),
        "a tensor with another name": with_header(whole.replace(first, "../../evil")),
        "a name with escape codes": with_header(whole.replace(first, "\x1b[31m")),
        "a tensor twice": with_header(whole[:-1] + ", " + json.dumps({first: header[first]})[1:]),
        "a pickle": lambda path: path.write_bytes(b"cos\nsystem\n(S'" + m.payload.encode() + b"'\ntR."),
        "a pipe": lambda path: _instead(path, os.mkfifo),
        "a folder": lambda path: _instead(path, os.mkdir),
        "not there": lambda path: path.unlink(),
        "/dev/zero": lambda path: _instead(path, lambda p: os.symlink("/dev/zero", p)),
    }.items():
        yield from m.weights(name, write)


def _states(m: _Maker) -> Iterator[Case]:
    thesis = m.folder / "thesis.txt"
    thesis.write_text("two years\n")
    score = torch.tensor(9.0)
    keeper = {  # Lightning's own deletes the file that it takes for the former best one
        "dirpath": str(thesis.parent), "best_model_path": str(thesis), "kth_best_model_path": str(thesis),
        "best_k_models": {str(thesis): score}, "best_model_score": score, "kth_value": score,
    }  # fmt: skip

    def callback(name: str, **state: Any) -> Callable[[dict], object]:
        return lambda c: c["callbacks"].update({name: state})

    for name, change in {
        "a callback of somebody else": callback("ModelCheckpoint", **keeper),
        "a callback of somebody else, by its full name": callback("ModelCheckpoint{'monitor': None}", **keeper),
        "a best value that is a name": callback("BestCheckpoint", best="x"),
        "a best value that is NaN": callback("BestCheckpoint", best=float("nan")),
        "a best value and a file": callback("BestCheckpoint", best=1.0, path=str(thesis)),
        "a last checkpoint with a file": callback("LastCheckpoint", validation_due=True, path=str(thesis)),
        "a validation that is a number": callback("LastCheckpoint", validation_due=7),
        "a watch that counts backwards": callback("DivergenceMonitor", steps=-1, learnt=False, said=False),
        "a watch that lacks something": callback("DivergenceMonitor", steps=1),
        "a log that is a list": callback("TrainingLog", entry=[]),
        "a log of other names": callback("TrainingLog", entry={"step": 1, "../evil": 1.0}),
        "a log of names": callback("TrainingLog", entry={"step": "x"}),
        "callbacks that are a list": lambda c: c.update(callbacks=[]),
        "a callback that is a name": lambda c: c["callbacks"].update(LastCheckpoint="x"),
        "an average of other steps": callback("ExponentialMovingAverage", latest_update_step="x"),
        "no average": lambda c: c.pop("averaging_state"),
        "an average that is a list": lambda c: c.update(averaging_state=[]),
        "an average of another shape": lambda c: c["averaging_state"].update(
            n_averaged=torch.ones(3, dtype=torch.int64)
        ),
        "weights beside the average of another shape": lambda c: _first(c["current_model_state"], torch.ones(2)),
        "weights beside the average that are NaN": lambda c: _first(c["current_model_state"], float("nan")),
        "weights of somebody else": lambda c: c["state_dict"].update(evil=torch.ones(1)),
        "no optimizer": lambda c: c.pop("optimizer_states"),
        "an optimizer that is a name": lambda c: c.update(optimizer_states=["adam"]),
        "two optimizers": lambda c: c["optimizer_states"].append(c["optimizer_states"][0]),
        "an optimizer of no groups": lambda c: c["optimizer_states"][0].update(param_groups=[]),
        "an optimizer of other parameters": lambda c: c["optimizer_states"][0]["param_groups"][0].update(params=[999]),
        "moments of another shape": lambda c: _moments(c, "exp_avg").update(exp_avg=torch.ones(7)),
        "moments that are NaN": lambda c: _moments(c, "exp_avg")["exp_avg"].fill_(float("nan")),
        "negative squares": lambda c: _moments(c, "exp_avg")["exp_avg_sq"].fill_(-1.0),
        "moments that are missing": lambda c: _moments(c, "exp_avg").pop("exp_avg"),
        "a basis of another shape": lambda c: _moments(c, "left_basis").update(left_basis=torch.eye(3)),
        "a basis that is infinite": lambda c: _moments(c, "left_basis")["left_basis"].fill_(float("inf")),
        "a basis that is missing": lambda c: _moments(c, "left_basis").pop("left_basis"),
        "a basis in float16": lambda c: _moments(c, "left_basis").update(
            left_basis=_moments(c, "left_basis")["left_basis"].half()
        ),
        "an average of gradients that is NaN": lambda c: _moments(c, "left_basis")["left_average"].fill_(float("nan")),
        "negative squares in a basis": lambda c: _moments(c, "left_basis")["exp_avg_sq"].fill_(-1.0),
        "steps that are NaN": lambda c: _moments(c, "left_basis").update(step=torch.tensor(float("nan"))),
        "moments of nobody": lambda c: c["optimizer_states"][0]["state"].update({10**6: {}}),
        "a rate that is NaN": lambda c: c["optimizer_states"][0]["param_groups"][0].update(lr=float("nan")),
        "a rate that is a name": lambda c: c["optimizer_states"][0]["param_groups"][0].update(lr="fast"),
        "a negative rate": lambda c: c["optimizer_states"][0]["param_groups"][0].update(lr=-1.0),
        "amsgrad": lambda c: c["optimizer_states"][0]["param_groups"][0].update(amsgrad=True),
        "an unknown setting of the optimizer": lambda c: c["optimizer_states"][0]["param_groups"][0].update(evil=1),
        "no schedule": lambda c: c.update(lr_schedulers=[]),
        "a schedule without its method": lambda c: c["lr_schedulers"][0].update(step=5),
        "a schedule of another optimizer": lambda c: c["lr_schedulers"][0].update(optimizer=5),
        "a schedule's functions": lambda c: c["lr_schedulers"][0].update(lr_lambdas=[{"x": 1}, None]),
        "a schedule of no rates": lambda c: c["lr_schedulers"][0].update(base_lrs=[]),
        "no loops": lambda c: c.pop("loops"),
        "loops that are a list": lambda c: c.update(loops=[]),
        "no fit loop": lambda c: c["loops"].pop("fit_loop"),
        "a loop without its method": lambda c: c["loops"]["fit_loop"]["epoch_progress"]["total"].update(reset=1),
        "a loop that counts names": lambda c: c["loops"]["fit_loop"]["epoch_progress"]["total"].update(ready="x"),
        "a loop that counts backwards": lambda c: c["loops"]["fit_loop"]["epoch_progress"]["total"].update(ready=-5),
        "a step that is a name": lambda c: c.update(global_step="x"),
        "an epoch that is huge": lambda c: c.update(epoch=2**62),
        "no epoch": lambda c: c.pop("epoch"),
        "an old Lightning": lambda c: c.update({"pytorch-lightning_version": "0.9.0"}),
        "no Lightning": lambda c: c.pop("pytorch-lightning_version"),
        "a Lightning that is a list": lambda c: c.update({"pytorch-lightning_version": ["2.6.6"]}),
        "a scaler that is a name": lambda c: c.update(MixedPrecision={"scale": "x"}),
    }.items():
        yield from m.state(name, change)


def _moments(contents: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the optimizer's state of the first parameter that has a tensor of this name."""
    states = contents["optimizer_states"][0]["state"].values()
    return next(state for state in states if name in state)


def _first(state: dict[str, Any], value: Any) -> None:
    name = next(iter(state))
    state[name] = value if isinstance(value, torch.Tensor) else torch.full_like(state[name], value)


def _yaml(m: _Maker) -> Iterator[Case]:
    good = (m.run / "config.yaml").read_text()

    def text(name: str, content: str | bytes) -> Iterator[Case]:
        data = content if isinstance(content, bytes) else content.encode()
        yield from m.resumed(name, lambda run: (run / "config.yaml").write_bytes(data))

    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for name, content in {
        "nothing": "",
        "a name": "x",
        "a list": "- 1",
        "names whose hashes collide": good + "".join(f"{k * (2**61 - 1)}: 0\n" for k in range(1, 9000)),
        "lists as names": good + "".join(f"? [{k}]\n: 0\n" for k in range(1, 3000)),
        "no YAML": "a: [",
        "a billion laughs": laughs + good,
        "an anchor": good.replace("seed: 0", "seed: &s 0"),
        "python/object/apply": good.replace("seed: 0", f"seed: !!python/object/apply:os.system ['{m.payload}']"),
        "python/name": good.replace("seed: 0", "seed: !!python/name:os.system"),
        "a tag": good.replace("seed: 0", "seed: !!binary aGVsbG8="),
        "a merge": good.replace("seed: 0", "seed: 0\n<<: {a: 1}"),
        "two documents": good + "\n---\n" + good,
        "100000 deep": "[" * 100_000,
        "500 deep": "a: " + "[" * 500 + "]" * 500,
        "1 MB of values": good + "more: [" + "1," * 400_000 + "]",
        "a million nines": good.replace("seed: 0", "seed: " + "9" * 900_000),
        "a name twice": good + "seed: 1\n",
        "a number for a name": good + "5: 1\n",
        "hydra": good + "hydra:\n  run:\n    dir: /tmp\n",
        "defaults": good + "defaults:\n  - evil\n",
        "escape codes": good.replace("seed: 0", 'seed: "\\x1b]0;evil\\x07"'),
    }.items():
        yield from text(name, content)
    yield from text("no UTF-8", b"\xff\xfe" + good.encode("utf-16-le"))
    yield from text("a pickle", b"cos\nsystem\n(S'" + m.payload.encode() + b"'\ntR.")
    for target in TARGETS:
        if not isinstance(target, dict):
            yield from m.yaml(f"dataset {target!r}", lambda c, t=target: c["dataset"].update(_target_=t))
    for target in ("os.system", "builtins.eval", "lightning.pytorch.loggers.WandbLogger", None, 5):
        logger = {"_target_": target, "save_dir": ".", "name": "", "version": "x"}
        yield from m.yaml(f"logger {target!r}", lambda c, logger=logger: c.update(logger=logger))
        yield from m.yaml(f"model {target!r}", lambda c, t=target: c["model"].update(_target_=t))
    here = str(m.canary)
    log = {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "save_dir": ".", "name": "", "version": "x"}
    for name, change in {
        "_partial_": lambda c: c["dataset"].update(_partial_=True),
        "_args_": lambda c: c["dataset"].update(_args_=["x"]),
        "_recursive_": lambda c: c["dataset"].update(_recursive_=False),
        "_convert_": lambda c: c["model"].update(_convert_="none"),
        "oc.env": lambda c: c["dataset"].update(root="${oc.env:HOME}"),
        "a reference": lambda c: c["dataset"].update(root="${run_dir}"),
        "a missing value": lambda c: c["dataset"].update(root="???"),
        "a target within the trainer": lambda c: c["trainer"].update(_target_="os.system"),
        "a target within a list": lambda c: c["optimizer"].update(betas=[{"_target_": "os.system"}, 0.9]),
        "a folder that is a number": lambda c: c["dataset"].update(root=5),
        "an unknown argument of the dataset": lambda c: c["dataset"].update(evil=5),
        "callbacks": lambda c: c["trainer"].update(callbacks=[{"_target_": "os.system"}]),
        "plugins": lambda c: c["trainer"].update(plugins="evil"),
        "profiler": lambda c: c["trainer"].update(profiler="advanced"),
        "default_root_dir": lambda c: c["trainer"].update(default_root_dir=here),
        "a logger of the trainer": lambda c: c["trainer"].update(logger=True),
        "a strategy with an argument": lambda c: c["trainer"].update(strategy="ddp; rm"),
        "100000 processes": lambda c: c["trainer"].update(devices=100_000),
        "100000 loaders": lambda c: c.update(num_workers=100_000),
        "100000 preparers": lambda c: c["preparation"].update(num_processes=100_000),
        "a huge batch": lambda c: c.update(batch_size=10**12),
        "a huge segment": lambda c: c.update(segment_length=10**12),
        "a huge batch of huge segments": lambda c: c.update(batch_size=2**16, segment_length=2**24),
        "hours of samples": lambda c: c["samples"].update(final_seconds=1e9),
        "a trainer that is a name": lambda c: c.update(trainer="cpu"),
        "a trainer that is a list": lambda c: c.update(trainer=[]),
        "a dataset that is null": lambda c: c.update(dataset=None),
        "a model that is a number": lambda c: c.update(model=5),
        "an optimizer that is a name": lambda c: c.update(optimizer="adam"),
        "samples that are a number": lambda c: c.update(samples=1),
        "a preparation that is a list": lambda c: c.update(preparation=[1]),
        "a cache that is a number": lambda c: c["preparation"].update(cache_dir=5),
        "a seed that is a name": lambda c: c.update(seed="x"),
        "a batch that is a name": lambda c: c.update(batch_size="two"),
        "a share that is a list": lambda c: c.update(validation_fraction=[0.1]),
        "steps that are a name": lambda c: c["trainer"].update(max_steps="many"),
        "steps that are null": lambda c: c["trainer"].update(max_steps=None),
        "a rate that is NaN": lambda c: c["optimizer"].update(lr=float("nan")),
        "a rate that is huge": lambda c: c["optimizer"].update(lr=1e9),
        "a compiler": lambda c: c.update(compile="evil"),
        "no trainer": lambda c: c.pop("trainer"),
        "no dataset": lambda c: c.pop("dataset"),
        "no steps": lambda c: c["trainer"].pop("max_steps"),
        "no rate": lambda c: c["optimizer"].pop("lr"),
        "an unknown group": lambda c: c.update(evil={"a": 1}),
        "an unknown setting": lambda c: c["preparation"].update(evil=1),
        "another model": lambda c: c["model"].update(residual_channels=16),
        "a model of a terabyte": lambda c: c["model"].update(residual_channels=2**20, skip_channels=2**20),
        "a model of a billion layers": lambda c: c["model"].update(num_cycles=10**9),
        "a model with another spectrogram": lambda c: c["model"]["conditioners"]["mel"].update(n_fft=10**10),
        "another sample rate": lambda c: c["model"].update(sample_rate=10**12),
        "a logger's name with ..": lambda c: c.update(logger=log | {"name": "../.."}),
        "a logger's version with ..": lambda c: c.update(logger=log | {"version": "../../x"}),
        "a logger's version that is absolute": lambda c: c.update(logger=log | {"version": here}),
        "a logger among the checkpoints": lambda c: c.update(logger=log | {"version": "checkpoints"}),
        "an unknown setting of the logger": lambda c: c.update(logger=log | {"prefix": "x"}),
    }.items():
        yield from m.yaml(name, change)


def _paths(m: _Maker) -> Iterator[Case]:
    victim = m.folder / "victim.txt"
    victim.write_text("two years\n")

    def link(name: str, to: Path = victim) -> Callable[[Path], object]:
        def make(run: Path) -> None:
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).unlink(missing_ok=True)
            (run / name).symlink_to(to)

        return make

    def linked_config(run: Path) -> None:
        (run / "config.yaml").rename(run.parent / "elsewhere.yaml")
        (run / "config.yaml").symlink_to(run.parent / "elsewhere.yaml")

    for name, change in {
        "a link for config.yaml": linked_config,
        "a link for skipped.txt": link("skipped.txt"),
        "a link for best.ckpt": link("checkpoints/best.ckpt"),
        "a link for the sounds": link("audio/step-0000004", m.folder),
        "a link for the logs": link("csv", m.folder),
        "a link to nowhere": link("csv", m.folder / "nowhere"),
        "config.yaml is a pipe": lambda run: _instead(run / "config.yaml", os.mkfifo),
        "config.yaml is a folder": lambda run: _instead(run / "config.yaml", os.mkdir),
        "config.yaml is /dev/zero": lambda run: _instead(run / "config.yaml", lambda p: os.symlink("/dev/zero", p)),
        "config.yaml of 1 GB": lambda run: os.truncate(run / "config.yaml", 2**30),
        "no config.yaml": lambda run: (run / "config.yaml").unlink(),
        "last.ckpt is a pipe": lambda run: _instead(run / "checkpoints" / "last.ckpt", os.mkfifo),
        "last.ckpt is a folder": lambda run: _instead(run / "checkpoints" / "last.ckpt", os.mkdir),
        "last.ckpt is /dev/zero": lambda run: _instead(
            run / "checkpoints" / "last.ckpt", lambda p: os.symlink("/dev/zero", p)
        ),
    }.items():
        yield from m.resumed(name, change)
