"""Model files: weights and metadata on disk, read without trusting a single byte.

A file is ``torch.save({"format", "format_version", "meta_json", "nets"})``. Loading never runs code from it, and does
not rely on ``torch.load`` for that alone: torch checks no CRC, its restricted unpickler overflows the stack on a deeply
nested dictionary key, and a stride of 0 turns one number into a tensor that fills the memory when copied. So the
archive is read and checked here, the pickle is followed symbolically with the few operations a model file needs, every
tensor is compared with its bytes, and torch is then given a fresh archive that holds exactly what was checked. There is
no unsafe fallback and no option for one.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import math
import os
import pickletools
import re
import secrets
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from theory.errors import UserError

FORMAT, FORMAT_VERSION = "landau-certify-model", 1
TORCH_FLOOR = (2, 10)  # below it, files can corrupt memory even through weights_only (CVE-2026-24747)

MAX_BYTES = 256 * 2**20
MAX_MEMBERS = 10_000
MAX_PICKLE_BYTES = 4 * 2**20
MAX_PICKLE_OPERATIONS = 300_000
MAX_TUPLE = 32  # the longest one has 6 entries, or as many as a tensor has dimensions
MAX_META_CHARACTERS = 2**20
MAX_META_DEPTH = 16
MAX_META_DIGITS = 64

Shapes = Callable[[Mapping[str, Any]], Mapping[str, Mapping[str, tuple[int, ...]]]]
Nets = Mapping[str, Mapping[str, torch.Tensor]]

_FIXES = {
    "E100": "Check the path.",
    "E101": f"Model files are small; {MAX_BYTES // 2**20} MiB is the limit.",
    "E102": "Make a model with 'certify train', or wrap foreign weights with 'certify convert'.",
    "E103": "Do not open it with other tools either; ask its author for the bare weights.",
    "E104": "Update this package, or save the model again with this version.",
    "E105": "Save the model again with 'certify train' or 'certify convert'.",
    "E106": "Save the model again as plain float32 or float64 tensors of its own architecture.",
    "E107": "Use the original file; weights changed on purpose need a new file from 'certify convert'.",
    "E109": "Copy the file again and compare its sha256.",
    "E200": "Train again, for example with a smaller learning rate; a diverged model cannot be certified.",
    "E300": f"Install torch {TORCH_FLOOR[0]}.{TORCH_FLOOR[1]} or newer.",
    "E301": "Choose another place with -o, or free some space.",
}

_ORDERED_DICT, _REBUILD = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_STORAGES = {"torch FloatStorage": torch.float32, "torch DoubleStorage": torch.float64}
_SAFE_GLOBALS = {_ORDERED_DICT, _REBUILD, *_STORAGES}
# What torch.save emits for harmless tensors that are not plain floats; refused as unfit (E106), not as unsafe (E103).
_ODD_TENSORS = {
    "torch HalfStorage",
    "torch BFloat16Storage",
    "torch LongStorage",
    "torch IntStorage",
    "torch ShortStorage",
    "torch CharStorage",
    "torch ByteStorage",
    "torch BoolStorage",
    "torch ComplexFloatStorage",
    "torch ComplexDoubleStorage",
    "torch.storage UntypedStorage",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_sparse_tensor",
    "torch.serialization _get_layout",
    "torch Size",
    "torch uint16",
    "torch uint32",
    "torch uint64",
}
_UNSAFE_OPERATIONS = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}

_MEMBER = re.compile(r"data\.pkl|version|byteorder|data/[0-9]{1,6}|\.[a-z_]+(/[a-z_]+)?")
_DIRECTORY_ENTRY = b"PK\x01\x02"
_NUMBER = re.compile(r"[0-9]{1,9}(/[0-9]{1,9}|\.[0-9]{1,9})?")
_PROBLEM = re.compile(r"[A-Za-z0-9_.:-]{1,80}")
_TENSOR_NAME = re.compile(r"[A-Za-z0-9_.]{1,200}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ANSI = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-_])")


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A checked model file.

    Parameters
    ----------
    metadata : mapping
        Parsed metadata; its types are checked, its strings are not fit to print (see `printable`).
    nets : mapping of str to mapping of str to Tensor
        State dict of "flow" and, where there is one, "score": contiguous CPU float32 or float64 tensors, each with its
        own storage.
    sha256 : str
        Digest of the weights, as in ``metadata["weights_sha256"]``.
    file_sha256 : str
        Digest of the file.
    size : int
        Bytes of the file.
    """

    metadata: Mapping[str, Any]
    nets: Nets
    sha256: str
    file_sha256: str
    size: int


def printable(text: str, limit: int = 80) -> str:
    """Text from a file on one line: no escape sequences, control or invisible characters, at most `limit` long."""
    kept = []
    for character in _ANSI.sub("", text[: 8 * limit]):
        category = unicodedata.category(character)
        if character in "\t\n\r" or category.startswith("Z"):
            kept.append(" ")
        elif not category.startswith("C"):
            kept.append(character)
    line = " ".join("".join(kept).split())
    return line if len(line) <= limit else line[: max(limit - 1, 0)].rstrip() + "…"


def weights_digest(nets: Nets) -> str:
    """SHA-256 over net, name, dtype, shape and bytes (little-endian) of every tensor, in order of net and name.

    Raises
    ------
    TypeError
        For anything but dense float32 and float64 tensors.
    """
    digest = hashlib.sha256()
    for net in sorted(nets):
        for name in sorted(nets[net]):
            tensor = _plain(nets[net][name], f"{net}/{name}")
            header = [net, name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
            digest.update(json.dumps(header).encode() + b"\n")
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save(path: str | os.PathLike[str], metadata: Mapping[str, Any], nets: Nets) -> ModelFile:
    """Write a model file, read it back, compare, and only then put it in place.

    Parameters
    ----------
    path : path-like
        Replaced if it exists.
    metadata : mapping
        JSON values only; ``weights_sha256`` is added.
    nets : mapping of str to mapping of str to Tensor
        State dict of "flow" and perhaps "score". Parameters are detached, views copied.

    Returns
    -------
    ModelFile
        What `load` returns for the new file.

    Raises
    ------
    TypeError, ValueError
        For metadata that JSON cannot carry, and for tensors that are not dense float32 or float64.
    UserError
        E301 if the file cannot be written; any error of `load` if the result would be refused (E105, E106, E200, ...).
    """
    target = Path(path)
    plain = {
        net: {
            name: _plain(tensor, f"{net}/{name}").clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
        for net, tensors in nets.items()
    }
    digest = weights_digest(plain)
    complete = {**metadata, "weights_sha256": digest}
    _check_json(complete, "metadata", 0)
    meta_json = json.dumps(complete, sort_keys=True, separators=(",", ":"), allow_nan=False)

    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "format_version": FORMAT_VERSION, "meta_json": meta_json, "nets": plain}, buffer)
    try:
        return _write(target, buffer.getvalue(), digest, complete)
    except (OSError, ValueError) as error:
        raise UserError("E301", f"cannot write {printable(str(target))}: {_why(error)}", _FIXES["E301"]) from error


def _write(target: Path, data: bytes, digest: str, metadata: Mapping[str, Any]) -> ModelFile:
    """Put `data` in place of `target` if it reads back as a model with this digest and metadata."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        model = _load(temporary, None, printable(target.name))
        if model.sha256 != digest or model.metadata != metadata:
            cause = f"{printable(target.name)} does not read back as it was written"
            raise UserError("E301", cause, _FIXES["E301"])
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return model


def load(path: str | os.PathLike[str], expected_shapes: Shapes | None = None) -> ModelFile:
    """Read and check a model file; nothing in it is executed.

    Parameters
    ----------
    path : path-like
    expected_shapes : callable, optional
        Shapes of all tensors of all nets from the metadata. It may raise for an architecture it does not know.

    Raises
    ------
    UserError
        E100-E109 refused, E200 NaN or infinity in the weights, E300 torch too old. Nothing else is raised.
    """
    return _load(Path(path), expected_shapes, printable(Path(path).name or str(path)))


class _RefusedError(Exception):
    """A reason to refuse the file, as the rest of a sentence that starts with the file's name."""

    def __init__(self, code: str, reason: str, fix: str | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.fix = code, reason, fix or _FIXES[code]


def _load(path: Path, expected_shapes: Shapes | None, label: str) -> ModelFile:
    """`load`, with the name to use in messages."""
    _check_torch()
    try:
        return _checked(_read(path), expected_shapes)
    except _RefusedError as refusal:
        raise UserError(refusal.code, f"{label} {refusal.reason}", refusal.fix) from refusal.__cause__


def _checked(data: bytes, expected_shapes: Shapes | None) -> ModelFile:
    """The model in `data`, checked from the outside in."""
    members = _members(data)
    pickle = members["data.pkl"]
    _check_globals(pickle)
    meta_json, outlines = _structure(_follow(pickle))
    metadata = _metadata(meta_json)
    _check_tensors(outlines, members)
    if expected_shapes is not None:
        _check_shapes(outlines, metadata, expected_shapes)
    nets = _torch_load(members, outlines)
    for net, tensors in nets.items():
        for name, tensor in tensors.items():
            bad = tensor.numel() - int(torch.isfinite(tensor).sum())
            if bad:
                raise _RefusedError("E200", f"has NaN or infinite weights: {bad} of {tensor.numel()} in {net}/{name}")
    digest = weights_digest(nets)
    if digest != metadata["weights_sha256"]:
        raise _RefusedError("E107", "holds other weights than its metadata says: the digests differ")
    return ModelFile(metadata, nets, digest, hashlib.sha256(data).hexdigest(), len(data))


def _check_torch() -> None:
    found = re.match(r"(\d+)\.(\d+)", str(torch.__version__))
    if found is None or (int(found[1]), int(found[2])) < TORCH_FLOOR:
        floor = ".".join(map(str, TORCH_FLOOR))
        cause = f"torch {torch.__version__} is too old to read model files safely (at least {floor} is needed)"
        raise UserError("E300", cause, _FIXES["E300"])


# --- the file and the archive ---------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    """Bytes of a regular file that is not too large."""
    try:
        _check_regular(os.stat(path))  # before opening: opening a device may block or act
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            _check_regular(os.fstat(descriptor))
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _RefusedError("E100", "does not exist", _where(path)) from None
    except (OSError, ValueError) as error:
        raise _RefusedError("E100", f"cannot be read: {_why(error)}") from error
    if len(data) > MAX_BYTES:
        raise _RefusedError("E101", "is too large")
    if not data:
        raise _RefusedError("E109", "is corrupt: it is empty")
    return data


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise _RefusedError("E100", "is a directory", "Name the model file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise _RefusedError("E100", "is not a regular file")
    if status.st_size > MAX_BYTES:
        raise _RefusedError("E101", f"is too large: {status.st_size} bytes")


def _where(path: Path) -> str:
    """Fix for a missing file, with did-you-mean."""
    try:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.pt")], n=1)
    except (OSError, ValueError):
        near = []
    hint = f"; did you mean {printable(near[0])}?" if near else "."
    return f"Check the path {printable(str(path), 200)}{hint}"


def _members(data: bytes) -> dict[str, bytes]:
    """Members of the archive by name without its top folder; all CRCs checked, only names torch.save writes."""
    if not data.startswith(b"PK\x03\x04"):
        raise _RefusedError("E102", "is not a model file: it is no zip archive of torch.save")
    if data.count(_DIRECTORY_ENTRY) > MAX_MEMBERS:  # before they are parsed, at some 500 bytes of memory each
        raise _RefusedError("E102", f"is not a model file: its archive has more than {MAX_MEMBERS} members")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        infos = archive.infolist()
    except Exception as error:
        raise _RefusedError("E109", "is corrupt: the archive's directory is damaged or cut off") from error
    if sum(info.file_size for info in infos) > MAX_BYTES:
        raise _RefusedError("E101", "is too large: its archive unpacks to more than the limit")
    top = infos[0].filename.partition("/")[0] if infos else ""
    members: dict[str, bytes] = {}
    for info in infos:
        folder, _, name = info.filename.partition("/")
        shown = printable(name or info.filename)
        if name == "constants.pkl" or name.startswith("code/"):
            raise _RefusedError("E102", "is a TorchScript archive, not a model file")
        if folder != top or folder in ("", "..") or not _MEMBER.fullmatch(name):
            raise _RefusedError("E102", f"is not a model file: unexpected archive member {printable(info.filename)}")
        if name in members:
            raise _RefusedError("E102", f"is not a model file: two archive members are called {shown}")
        if info.flag_bits & 1 or info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise _RefusedError("E102", f"is not a model file: archive member {shown} is compressed or encrypted")
        try:
            members[name] = archive.read(info)
        except Exception as error:
            reason = "CRC mismatch" if "CRC" in str(error) else "damaged header or data cut off"
            raise _RefusedError("E109", f"is corrupt: {reason} in member {shown}") from error
        if len(members[name]) != info.file_size:
            raise _RefusedError("E109", f"is corrupt: data cut off in member {shown}")
    for required in ("data.pkl", "version"):
        if required not in members:
            raise _RefusedError("E102", f"is not a model file: its archive has no {required}")
    if members.get("byteorder", b"little") != b"little":
        raise _RefusedError("E102", "is not a model file: its numbers are not little-endian")
    return members


# --- the pickle -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Hooks:
    """An empty OrderedDict."""


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class _Outline:
    """A tensor as the pickle describes it."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    requires_grad: bool


_Outlines = dict[str, dict[str, _Outline]]


def _check_globals(pickle: bytes) -> None:
    """Refuse, by name, everything importable the pickle mentions beyond what float tensors need."""
    if len(pickle) > MAX_PICKLE_BYTES:
        raise _RefusedError("E101", "is too large: its table of contents exceeds the limit")
    names: set[str] = set()
    strings = ["?", "?"]
    damage: Exception | None = None
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(pickle)):
            if count > MAX_PICKLE_OPERATIONS:
                raise _RefusedError("E101", "is too large: its table of contents exceeds the limit")
            if operation.name == "GLOBAL":
                names.add(str(argument))
            elif operation.name == "STACK_GLOBAL":  # torch.save never writes it: unsafe whatever the name
                names.add(" ".join(strings) + " ")
            elif operation.name in _UNSAFE_OPERATIONS:
                names.add(str(argument or operation.name) + " ")
            elif isinstance(argument, str):
                strings = [strings[1], argument]
    except ValueError as error:
        damage = error
    unsafe = sorted(names - _SAFE_GLOBALS - _ODD_TENSORS)
    if unsafe:
        shown = ", ".join(printable(name.strip().replace(" ", "."), 60) for name in unsafe[:3])
        more = f" and {len(unsafe) - 3} more" if len(unsafe) > 3 else ""
        raise _RefusedError("E103", f"asks for code to be run: {shown}{more}")
    if damage is not None:
        raise _RefusedError("E109", "is corrupt: its table of contents cannot be read") from damage
    odd = sorted(names & _ODD_TENSORS)
    if odd:
        shown = ", ".join(name.replace(" ", ".") for name in odd[:3])
        raise _RefusedError("E106", f"holds tensors that are not plain dense float32 or float64 ({shown})")


def _follow(pickle: bytes) -> Any:
    """What the pickle describes: dictionaries with string keys, strings, integers, and outlines instead of tensors.

    Only the operations that torch.save needs for a model file are known, keys are strings, and a tuple holds at most
    tuples of integers, so that the real unpickler, given the same bytes, can neither hang nor overflow the stack.
    """
    stack: list[Any] = []
    marks: list[list[Any]] = []
    memo: dict[Any, Any] = {}
    try:
        for position, (operation, argument, _) in enumerate(pickletools.genops(pickle)):
            match operation.name:
                case "PROTO" if position == 0 and argument == 2:
                    pass
                case "STOP" if len(stack) == 1 and not marks:
                    return stack[0]
                case "BINUNICODE" | "BININT" | "BININT1" | "BININT2":
                    stack.append(argument)
                case "NEWTRUE" | "NEWFALSE":
                    stack.append(operation.name == "NEWTRUE")
                case "GLOBAL":
                    stack.append(_Global(str(argument)))
                case "EMPTY_DICT":
                    stack.append({})
                case "EMPTY_TUPLE":
                    stack.append(())
                case "MARK":
                    marks.append(stack)
                    stack = []
                case "TUPLE":
                    items, stack = stack, marks.pop()
                    stack.append(_tuple(items))
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    count = int(operation.name[-1])
                    items = [stack.pop() for _ in range(count)][::-1]
                    stack.append(_tuple(items))
                case "SETITEM":
                    value, key = stack.pop(), stack.pop()
                    _set_items(stack[-1], [key, value])
                case "SETITEMS":
                    items, stack = stack, marks.pop()
                    _set_items(stack[-1], items)
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "BINPERSID":
                    stack.append(_storage(stack.pop()))
                case "REDUCE":
                    arguments, function = stack.pop(), stack.pop()
                    stack.append(_call(function, arguments))
                case other:
                    raise _RefusedError("E102", f"is not a model file: its table of contents uses {other}")
    except (ValueError, LookupError) as error:
        raise _RefusedError("E109", "is corrupt: its table of contents cannot be read") from error
    raise _RefusedError("E109", "is corrupt: its table of contents cannot be read")


def _tuple(items: list[Any]) -> tuple[Any, ...]:
    if len(items) > MAX_TUPLE:
        raise _RefusedError("E102", "is not a model file: its table of contents has a tuple that is too long")
    for item in items:
        if isinstance(item, dict) or (isinstance(item, tuple) and any(type(part) is not int for part in item)):
            raise _RefusedError("E102", "is not a model file: its table of contents is nested in a foreign way")
    return tuple(items)


def _set_items(target: Any, items: list[Any]) -> None:
    keys, values = items[::2], items[1::2]
    if type(target) is not dict or len(keys) != len(values) or any(type(key) is not str for key in keys):
        raise _RefusedError("E102", "is not a model file: its table of contents is no dictionary of names")
    target.update(zip(keys, values, strict=True))


def _storage(identifier: Any) -> _Storage:
    match identifier:
        case ("storage", _Global(name), str(key), "cpu", int(count)) if name in _STORAGES and type(count) is int:
            return _Storage(key, _STORAGES[name], count)
        case ("storage", _Global(name), str(), str(device), int()) if name in _STORAGES:
            raise _RefusedError(
                "E106", f"holds tensors of device {printable(device, 20)}; only cpu tensors can be loaded"
            )
    raise _RefusedError("E102", "is not a model file: its table of contents has a foreign storage")


def _call(function: Any, arguments: Any) -> _Hooks | _Outline:
    match function, arguments:
        case _Global(name), () if name == _ORDERED_DICT:
            return _Hooks()
        case (
            _Global(name),
            (_Storage() as storage, int(offset), tuple(shape), tuple(stride), bool(grad), _Hooks()),
        ) if name == _REBUILD and all(type(part) is int for part in (offset, *shape, *stride)):
            return _Outline(storage, offset, shape, stride, grad)
    raise _RefusedError("E102", "is not a model file: its table of contents has a foreign tensor")


# --- what the file says ---------------------------------------------------------------------------------------------


def _structure(root: Any) -> tuple[str, _Outlines]:
    """Metadata string and outlines of the nets, from exactly the keys of the format."""
    if not isinstance(root, dict) or root.get("format") != FORMAT:
        raise _RefusedError("E102", "is not a model file: it does not name the format")
    version = root.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        shown = version if type(version) is int else "unknown"
        raise _RefusedError("E104", f"has format version {shown}; this package reads version {FORMAT_VERSION}")
    if root.keys() != {"format", "format_version", "meta_json", "nets"}:
        raise _RefusedError("E102", f"is not a model file: its keys are {_names(root)}")
    meta_json, nets = root["meta_json"], root["nets"]
    if not isinstance(meta_json, str):
        raise _RefusedError("E105", "has unreadable metadata: it is no string")
    if not isinstance(nets, dict) or "flow" not in nets or not nets.keys() <= {"flow", "score"}:
        found = _names(nets) if isinstance(nets, dict) else "not a dictionary"
        raise _RefusedError("E102", f"is not a model file: its nets are {found}, not flow and perhaps score")
    for net, tensors in nets.items():
        if not isinstance(tensors, dict) or not tensors:
            raise _RefusedError("E102", f"is not a model file: net {net} is no dictionary of tensors")
        for name, outline in tensors.items():
            if not isinstance(outline, _Outline):
                raise _RefusedError("E106", f"does not hold a tensor in {net}/{printable(name)}")
            if not _TENSOR_NAME.fullmatch(name):
                raise _RefusedError("E106", f"has a tensor with a strange name in net {net}: {printable(name)!r}")
    return meta_json, nets


def _metadata(text: str) -> dict[str, Any]:
    """Parsed and checked metadata."""
    if len(text) > MAX_META_CHARACTERS:
        raise _RefusedError("E105", f"has unreadable metadata: {len(text)} characters are too many")
    try:
        metadata = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int
        )
    except (ValueError, RecursionError) as error:
        raise _RefusedError("E105", f"has unreadable metadata: {_why(error)}") from error
    level = [metadata]
    for _ in range(MAX_META_DEPTH + 1):
        level = [child for node in level for child in _children(node)]
    if level:
        raise _RefusedError("E105", f"has unreadable metadata: nested deeper than {MAX_META_DEPTH} levels")
    if not isinstance(metadata, dict):
        raise _RefusedError("E105", "has unreadable metadata: it is no JSON object")
    for key, (check, expected) in _METADATA.items():
        if key not in metadata:
            raise _RefusedError("E105", f"has incomplete metadata: {key} is missing")
        if not check(metadata[key]):
            raise _RefusedError("E105", f"has unfit metadata: {key} is not {expected}")
    if not Fraction(metadata["t0"]) < Fraction(metadata["T"]):
        raise _RefusedError("E105", f"has unfit metadata: the window [{metadata['t0']}, {metadata['T']}] is empty")
    return metadata


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"key {printable(key, 40)} occurs twice")
        result[key] = value
    return result


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _float(text: str) -> float:
    value = float(text) if len(text) <= MAX_META_DIGITS else math.inf
    if not math.isfinite(value):
        raise ValueError(f"the number {printable(text, 20)} is too large or too long")
    return value


def _int(text: str) -> int:
    if len(text) > MAX_META_DIGITS:
        raise ValueError(f"an integer has {len(text)} digits")
    return int(text)


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return False
    return int(value.partition("/")[2] or 1) != 0


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


_METADATA: dict[str, tuple[Callable[[Any], bool], str]] = {
    "problem": (lambda value: isinstance(value, str) and bool(_PROBLEM.fullmatch(value)), "the id of a problem"),
    "constants": (_is_texts, "an object of strings"),
    "t0": (_is_time, "a time such as 1/2 or 0.5, as a string"),
    "T": (_is_time, "a time such as 1/2 or 0.5, as a string"),
    "d": (lambda value: type(value) is int and value in (2, 3), "2 or 3"),
    "architecture": (lambda value: isinstance(value, dict), "an object"),
    "training": (lambda value: isinstance(value, dict), "an object"),
    "versions": (_is_texts, "an object of strings"),
    "weights_sha256": (lambda value: isinstance(value, str) and bool(_DIGEST.fullmatch(value)), "a sha256"),
}


# --- the tensors ----------------------------------------------------------------------------------------------------


def _check_tensors(outlines: _Outlines, members: Mapping[str, bytes]) -> None:
    """Every tensor is plain, contiguous and the only owner of exactly its bytes; no bytes are left over."""
    owners: dict[str, str] = {}
    for net, tensors in outlines.items():
        for name, tensor in tensors.items():
            where, storage = f"{net}/{name}", tensor.storage
            if tensor.requires_grad:
                raise _RefusedError("E106", f"has a tensor with gradients: {where}")
            strides = _contiguous_strides(tensor.shape)
            if min(tensor.shape, default=0) < 0 or tensor.offset != 0 or tensor.stride != strides:
                raise _RefusedError("E106", f"has a tensor that is a view, not its own contiguous data: {where}")
            if math.prod(tensor.shape) != storage.count:
                raise _RefusedError("E106", f"has a tensor that is a view of other data: {where}")
            if storage.key in owners:
                raise _RefusedError("E106", f"has tensors that share memory: {owners[storage.key]} and {where}")
            owners[storage.key] = where
            found = members.get(f"data/{storage.key}")
            if found is None or len(found) != storage.count * storage.dtype.itemsize:
                raise _RefusedError("E109", f"is corrupt: the bytes of tensor {where} are missing or of another length")
    for member in members:
        if member.startswith("data/") and member.removeprefix("data/") not in owners:
            raise _RefusedError("E102", f"is not a model file: archive member {member} belongs to no tensor")


def _contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _check_shapes(outlines: _Outlines, metadata: Mapping[str, Any], expected_shapes: Shapes) -> None:
    """Nets, names and shapes are those of the architecture."""
    try:
        expected = {
            net: {name: tuple(shape) for name, shape in shapes.items()}
            for net, shapes in expected_shapes(metadata).items()
        }
    except UserError as error:
        raise _RefusedError("E106", f"has an unfit architecture: {printable(error.cause, 200)}", error.fix) from error
    except Exception as error:
        reason = f"no entry {_why(error)}" if isinstance(error, KeyError) else _why(error)
        raise _RefusedError("E106", f"has an unknown or unfit architecture: {reason}") from error
    if outlines.keys() != expected.keys():
        raise _RefusedError("E106", f"has nets {_names(outlines)}; its architecture has {_names(expected)}")
    for net, shapes in expected.items():
        for name in sorted(shapes.keys() | outlines[net].keys()):
            where = f"{net}/{printable(name)}"
            if name not in outlines[net]:
                raise _RefusedError("E106", f"lacks the tensor {where} of its architecture")
            if name not in shapes:
                raise _RefusedError("E106", f"has a tensor its architecture does not have: {where}")
            if outlines[net][name].shape != shapes[name]:
                found, wanted = list(outlines[net][name].shape), list(shapes[name])
                raise _RefusedError("E106", f"does not fit its architecture: {where} has shape {found}, not {wanted}")


def _torch_load(members: Mapping[str, bytes], outlines: _Outlines) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors, from a fresh archive that holds only what has been checked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            if not name.startswith("."):
                archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    buffer.seek(0)
    nets: dict[str, dict[str, torch.Tensor]] = {}
    try:
        # The argument is written out: an environment variable can switch the default off, but not this.
        loaded = torch.load(buffer, map_location="cpu", weights_only=True, mmap=False)
        for net, tensors in outlines.items():
            nets[net] = {}
            for name, outline in tensors.items():
                found = loaded["nets"][net][name]
                if type(found) is not torch.Tensor or found.layout is not torch.strided or found.device.type != "cpu":
                    raise _RefusedError("E106", f"holds no plain tensor in {net}/{name}")
                if (found.dtype, tuple(found.shape)) != (outline.storage.dtype, outline.shape):
                    raise _RefusedError("E106", f"holds another tensor than announced in {net}/{name}")
                nets[net][name] = found.detach().clone(memory_format=torch.contiguous_format)
    except _RefusedError:
        raise
    except Exception as error:
        raise _RefusedError("E109", f"cannot be read by torch: {_why(error)}") from error
    return nets


def _plain(tensor: object, where: str) -> torch.Tensor:
    """A dense, contiguous, detached CPU tensor of float32 or float64 with the same values."""
    where = printable(where)
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{where} is a {type(tensor).__name__}, not a tensor")
    if tensor.layout is not torch.strided or tensor.dtype not in (torch.float32, torch.float64):
        kind = f"{tensor.layout} {tensor.dtype}"
        raise TypeError(f"{where} is {kind}; only dense torch.float32 and torch.float64 tensors can be saved")
    return tensor.detach().cpu().resolve_neg().contiguous()


# --- words ----------------------------------------------------------------------------------------------------------


def _check_json(value: object, where: str, depth: int) -> None:
    """Refuse what JSON cannot carry unchanged, saying where it is."""
    if depth > MAX_META_DEPTH:
        raise ValueError(f"{where} is nested deeper than {MAX_META_DEPTH} levels")
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{where} has the key {key!r}; keys must be strings")
            _check_json(item, f"{where}[{key!r}]", depth + 1)
    elif type(value) is list:
        for index, item in enumerate(value):
            _check_json(item, f"{where}[{index}]", depth + 1)
    elif type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, which JSON cannot carry")
    elif value is not None and type(value) not in (str, int, bool):
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise TypeError(f"{where} is a {kind}; metadata takes str, int, float, bool, None, list and dict only")


def _names(mapping: Mapping[str, object]) -> str:
    return printable(", ".join(sorted(mapping))) or "none"


def _why(error: BaseException) -> str:
    """First line of an exception, fit to print."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text.strip().partition("\n")[0]).rstrip(". ") or type(error).__name__
