"""Model files: what is saved is what is loaded; anything else is refused in one line, and nothing in a file is run."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from solver import model_file
from solver.model_file import ModelFile, load, printable, save, weights_digest
from theory.errors import CODES, UserError

Nets = dict[str, dict[str, torch.Tensor]]
METADATA: dict[str, Any] = {
    "problem": "bkw2d",
    "constants": {"C": "1/16", "K0": "1/2"},
    "t0": "0",
    "T": "5/2",
    "d": 2,
    "architecture": {"kind": "free", "width": 4},
    "training": {"method": "flow-defect", "seed": 2**64, "rate": 1e-3, "notes": None, "done": True},
    "versions": {"torch": "2.13.0"},
}


def nets() -> Nets:
    generator = torch.Generator().manual_seed(1)
    flow = {"in.weight": torch.randn(4, 2, generator=generator), "in.bias": torch.randn(4, generator=generator)}
    score = {"scale": torch.randn((), generator=generator, dtype=torch.float64), "none": torch.empty(0, 3)}
    return {"flow": flow, "score": score}


def shapes(metadata: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, ...]]]:
    return {
        "flow": {"in.weight": (metadata["architecture"]["width"], 2), "in.bias": (4,)},
        "score": {"scale": (), "none": (0, 3)},
    }


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.pt"
    save(path, METADATA, nets())
    return path


def assert_refused(path: Path | str, code: str, *words: str, expected: Any = None) -> UserError:
    """The refusal of a file, checked for its form."""
    with pytest.raises(UserError) as caught:
        load(path, expected)
    error = caught.value
    assert error.code == code, error.line()
    assert error.code in CODES
    assert error.cause.strip() == error.cause
    assert not error.cause.endswith(".")
    assert error.fix.endswith((".", "?"))
    assert error.line().isprintable(), error.line()
    for word in words:
        assert word in error.line()
    return error


# --- building files, good and bad -----------------------------------------------------------------------------------


def raw(path: Path, **changes: Any) -> Path:
    """A file as torch.save writes it, with some top-level entries replaced or, if None, removed."""
    tensors = changes.pop("nets", None) or nets()
    try:
        digest = weights_digest(tensors)
    except (TypeError, AttributeError, IndexError):
        digest = "0" * 64
    content = {
        "format": "landau-certify-model",
        "format_version": 1,
        "meta_json": json.dumps({**METADATA, "weights_sha256": digest}),
        "nets": tensors,
        **changes,
    }
    torch.save({key: value for key, value in content.items() if value is not None}, path)
    return path


def with_metadata(path: Path, **changes: Any) -> Path:
    metadata = {**METADATA, "weights_sha256": weights_digest(nets()), **changes}
    return raw(path, meta_json=json.dumps({key: value for key, value in metadata.items() if value is not None}))


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive(path: Path, content: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as target:
        warnings.simplefilter("ignore")  # of duplicates
        for name, data in content:
            target.writestr(name, data)
    return path


def with_pickle(path: Path, stream: bytes, storage: bytes = bytes(8)) -> Path:
    """An archive as torch.save writes it, around a hand-made pickle."""
    content = [("a/data.pkl", stream), ("a/byteorder", b"little"), ("a/data/0", storage), ("a/version", b"3\n")]
    return archive(path, content)


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def storage(key: str = "0", count: int = 2, kind: str = "FloatStorage", device: str = "cpu") -> bytes:
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text(device) + integer(count) + b"tQ"


def tensor(data: bytes, size: Iterable[int], stride: Iterable[int], offset: int = 0, grad: bytes = b"\x89") -> bytes:
    dimensions = [b"(" + b"".join(map(integer, part)) + b"t" for part in (size, stride)]
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = data + integer(offset) + dimensions[0] + dimensions[1] + grad + hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def document(flow: bytes, metadata: str | None = None) -> bytes:
    """The pickle of a model file whose net flow is the given entries."""
    metadata = json.dumps({**METADATA, "weights_sha256": "0" * 64}) if metadata is None else metadata
    head = text("format") + text("landau-certify-model") + text("format_version") + b"K\x01"
    return (
        b"\x80\x02}(" + head + text("meta_json") + text(metadata) + text("nets") + b"}" + text("flow") + flow + b"su."
    )


def flow(*tensors: bytes) -> bytes:
    return b"}(" + b"".join(text(f"w{index}") + entry for index, entry in enumerate(tensors)) + b"u"


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


# --- what is saved is what is loaded --------------------------------------------------------------------------------


def test_roundtrip(good: Path) -> None:
    model, tensors = load(good, shapes), nets()
    assert model.metadata == {**METADATA, "weights_sha256": model.sha256}
    assert model.sha256 == weights_digest(tensors) == weights_digest(model.nets)
    assert model.file_sha256 == hashlib.sha256(good.read_bytes()).hexdigest()
    assert model.size == good.stat().st_size
    assert model.nets.keys() == tensors.keys()
    pairs = [(model.nets[net][name], tensors[net][name]) for net in tensors for name in tensors[net]]
    for found, wanted in pairs:
        assert type(found) is torch.Tensor
        assert found.dtype is wanted.dtype
        assert torch.equal(found, wanted)
        assert found.is_contiguous()
        assert not found.requires_grad
        assert found.untyped_storage().nbytes() == found.numel() * found.element_size()


def test_save_returns_what_load_returns_and_writes_the_same_bytes_again(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a.pt", METADATA, nets()), save(tmp_path / "b.pt", METADATA, nets())
    again = save(tmp_path / "c.pt", first.metadata, first.nets)
    assert isinstance(first, ModelFile)
    assert first.file_sha256 == second.file_sha256 == again.file_sha256 == load(tmp_path / "c.pt").file_sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "b.pt", "c.pt"]


def test_a_net_may_stand_alone(tmp_path: Path) -> None:
    alone = {"flow": nets()["flow"]}
    assert save(tmp_path / "a.pt", METADATA, alone).nets.keys() == {"flow"}


def test_a_state_dict_with_views_and_parameters_is_saved_as_plain_tensors(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    linear = torch.nn.Linear(2, 3)
    views = {
        "t": base.T,
        "part": base[1:, ::2],
        "wide": torch.ones(1).expand(5),
        "row": torch.ones(4, 1).T,
        "p": linear.weight,
        "q": linear.weight,
    }
    model = save(tmp_path / "a.pt", METADATA, {"flow": views, "score": linear.state_dict()})
    assert all(torch.equal(model.nets["flow"][name], views[name]) for name in views)
    assert all(found.is_contiguous() and not found.requires_grad for found in model.nets["flow"].values())
    pointers = [found.data_ptr() for net in model.nets.values() for found in net.values()]
    assert len(set(pointers)) == len(pointers)


def test_the_digest_sees_name_net_type_shape_and_every_bit() -> None:
    one = torch.ones(2, 3)
    signed = one.clone()
    signed[0, 0] = 0.0
    negative = signed.clone()
    negative[0, 0] = -0.0
    variants = [
        {"flow": {"a": one}},
        {"flow": {"b": one}},
        {"score": {"a": one}},
        {"flow": {"a": one.double()}},
        {"flow": {"a": one.reshape(3, 2)}},
        {"flow": {"a": signed}},
        {"flow": {"a": negative}},
        {"flow": {"a": one[:1], "a2": one[1:]}},
    ]
    assert len({weights_digest(variant) for variant in variants}) == len(variants)
    assert weights_digest({"flow": {"a": one, "b": one}}) == weights_digest({"flow": {"b": one, "a": one}})
    assert weights_digest({"flow": {"a": one.T.contiguous().T}}) == weights_digest({"flow": {"a": one}})


# --- saving refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.float64(1.0), TypeError),
        (np.int64(1), TypeError),
        (Path("x"), TypeError),
        ((1, 2), TypeError),
        ({1: 2}, TypeError),
        (b"x", TypeError),
        (torch.float32, TypeError),
        (math.nan, ValueError),
        (-math.inf, ValueError),
    ],
)
def test_metadata_that_json_cannot_carry_is_refused_by_place(tmp_path: Path, value: Any, error: type) -> None:
    with pytest.raises(error, match=r"metadata\['training'\]\['x'\]\[1\]"):
        save(tmp_path / "a.pt", {**METADATA, "training": {"x": [0, value]}}, nets())
    assert list(tmp_path.iterdir()) == []


def test_metadata_that_contains_itself_is_refused(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    with pytest.raises(ValueError, match="nested deeper"):
        save(tmp_path / "a.pt", {**METADATA, "training": loop}, nets())


@pytest.mark.parametrize(
    "weights",
    [
        torch.ones(2, dtype=torch.int64),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, dtype=torch.float16),
        torch.eye(2).to_sparse(),
        np.ones(2),
        [1.0],
    ],
    ids=lambda value: str(getattr(value, "dtype", type(value))),
)
def test_weights_that_are_not_plain_floats_cannot_be_saved(tmp_path: Path, weights: Any) -> None:
    with pytest.raises(TypeError, match="flow/w is "):
        save(tmp_path / "a.pt", METADATA, {"flow": {"w": weights}})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file_and_no_other(good: Path) -> None:
    before = good.read_bytes()
    broken = {"flow": {"w": torch.tensor([1.0, math.nan])}}
    with pytest.raises(UserError, match=r"good\.pt has NaN") as caught:
        save(good, METADATA, broken)
    assert caught.value.code == "E200"
    with pytest.raises(UserError) as caught:
        save(good, {"problem": "bkw2d"}, nets())
    assert caught.value.code == "E105"
    assert good.read_bytes() == before
    assert [path.name for path in good.parent.iterdir()] == ["good.pt"]


def test_what_is_written_badly_is_not_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.ftruncate(descriptor, 1000))
    with pytest.raises(UserError, match=r"a\.pt is corrupt"):
        save(tmp_path / "a.pt", METADATA, nets())
    assert list(tmp_path.iterdir()) == []


def test_what_reads_back_as_another_model_is_not_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = nets()
    other["flow"]["in.bias"] += 1
    save(tmp_path / "other.pt", METADATA, other)
    data = (tmp_path / "other.pt").read_bytes()
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.pwrite(descriptor, data, 0))
    with pytest.raises(UserError, match=r"a\.pt does not read back"):
        save(tmp_path / "a.pt", METADATA, nets())
    assert [path.name for path in tmp_path.iterdir()] == ["other.pt"]


@pytest.mark.parametrize("name", ["missing/a.pt", "folder", "file/a.pt", "nul\0.pt", "x" * 300])
def test_a_place_that_cannot_be_written_is_an_environment_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        save(tmp_path / name, METADATA, nets())
    assert caught.value.code == "E301"
    assert caught.value.line().isprintable()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


# --- the file itself ------------------------------------------------------------------------------------------------


def test_a_missing_file_gets_a_suggestion(good: Path) -> None:
    assert_refused(good.with_name("godo.pt"), "E100", "does not exist", "did you mean good.pt?")
    assert_refused(good.with_name("zzz") / "other.pt", "E100", "does not exist")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path, "E100", "is a directory")
    assert_refused(".", "E100", "is a directory")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_link_to_a_device_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.symlink_to("/dev/zero")
    assert_refused(path, "E100", "not a regular file")


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.pt")
    assert_refused(tmp_path / "model.pt", "E100", "not a regular file")


def test_a_link_to_a_model_is_followed_and_a_loop_of_links_is_refused(good: Path) -> None:
    link = good.with_name("link.pt")
    link.symlink_to(good)
    assert load(link).sha256 == load(good).sha256
    loop = good.with_name("loop.pt")
    loop.symlink_to(loop)
    assert_refused(loop, "E100", "cannot be read")


def test_a_file_that_cannot_be_opened_is_refused(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    assert_refused(good, "E100", "Permission denied")
    assert_refused("nul\0byte.pt", "E100", "cannot be read")


def test_a_large_file_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert_refused(path, "E101", str(2**40))


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "E109"), (b"hello\n", "E102"), (b"PK\x03\x04 hello", "E109"), (b"PK", "E102"), (bytes(100), "E102")],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    assert_refused(path, code)


def test_a_torch_that_is_too_old_is_an_environment_error(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("2.9.1+cu128", "1.13", "unknown"):
        monkeypatch.setattr(torch, "__version__", version)
        assert assert_refused(good, "E300", version).exit_code == 5
    for version in ("2.10.0", "2.13.0+cpu", "3.0.0a0+git1234"):
        monkeypatch.setattr(torch, "__version__", version)
        assert load(good).metadata["problem"] == "bkw2d"


# --- corruption -----------------------------------------------------------------------------------------------------


def test_the_member_with_a_flipped_bit_is_named(good: Path) -> None:
    data = bytearray(good.read_bytes())
    weights = nets()["flow"]["in.weight"].numpy().tobytes()
    data[data.index(weights) + 5] ^= 4
    good.write_bytes(data)
    error = assert_refused(good, "E109")
    assert error.cause == "good.pt is corrupt: CRC mismatch in member data/0"
    assert error.exit_code == 3


def attempt(path: Path) -> ModelFile | UserError:
    try:
        return load(path)
    except UserError as error:
        return error


def outcome(path: Path, digest: str) -> str:
    """Code of the refusal, or "same" if the weights are the same; anything else is an error."""
    result = attempt(path)
    if isinstance(result, UserError):
        assert result.line().isprintable()
        return result.code
    assert result.sha256 == digest
    return "same"


def outcome_of(data: bytes, path: Path, digest: str) -> str:
    path.write_bytes(data)
    return outcome(path, digest)


def test_a_flipped_bit_is_refused_or_changes_nothing(good: Path) -> None:
    data, digest = good.read_bytes(), load(good).sha256
    rng = np.random.default_rng(0)
    outcomes = []
    for position in rng.choice(len(data), 600, replace=False):
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        outcomes.append(outcome_of(bytes(changed), good, digest))
    assert outcomes.count("E109") > 100
    assert 0 < outcomes.count("same") < 500


def test_a_truncated_file_is_refused(good: Path) -> None:
    data, digest = good.read_bytes(), load(good).sha256
    for length in [*range(0, len(data) - 1, 97), len(data) - 1]:
        assert outcome_of(data[:length], good, digest) in ("E109", "E102")


def test_blocks_that_are_cut_doubled_or_overwritten_are_refused_or_change_nothing(good: Path) -> None:
    data, digest = good.read_bytes(), load(good).sha256
    rng = np.random.default_rng(1)
    for kind in range(150):
        start, end = sorted(rng.integers(0, len(data), 2))
        block = [b"", data[start:end] * 2, rng.bytes(end - start), bytes(end - start), data[end:start:-1]][kind % 5]
        assert outcome_of(data[:start] + block + data[end:], good, digest) in ("same", *CODES)


def test_a_damaged_pickle_with_a_right_crc_is_refused_or_changes_nothing(good: Path) -> None:
    """The attacker's fuzz: the archive is sound, its table of contents is not."""
    content, digest = members(good), load(good).sha256
    name = next(name for name in content if name.endswith("data.pkl"))
    stream = content[name]
    rng = np.random.default_rng(2)
    seen = set()
    for _ in range(900):
        changed = bytearray(stream)
        for position in rng.integers(0, len(stream), rng.integers(1, 4)):
            changed[position] = stream[rng.integers(len(stream))] if rng.random() < 0.5 else rng.integers(256)
        seen.add(outcome(archive(good, (content | {name: bytes(changed)}).items()), digest))
    assert seen >= {"E102", "E103", "E105", "E109"}


def test_random_operations_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    pieces = [
        *(bytes([code]) for code in range(256)),
        *[
            b"K\x01",
            b"q\x00",
            b"h\x00",
            b"}",
            b"(",
            b"t",
            b"\x85",
            b"\x86",
            b"\x87",
            b"u",
            b"s",
            b"R",
            b"Q",
            b")",
            b"\x89",
        ]
        * 8,
        *[text("format"), text("landau-certify-model"), text("nets"), storage(), tensor(storage(), [2], [1])] * 8,
        *[b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"] * 8,
    ]
    for _ in range(900):
        body = b"".join(pieces[index] for index in rng.integers(0, len(pieces), rng.integers(1, 30)))
        path = with_pickle(tmp_path / "model.pt", b"\x80\x02" + body + b".")
        assert outcome(path, "") in CODES


# --- archives -------------------------------------------------------------------------------------------------------


def test_an_npz_file_is_foreign(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", a=np.ones(3))
    assert_refused(tmp_path / "model.npz", "E102", "a.npy")


def test_a_torchscript_archive_is_foreign(good: Path) -> None:
    content = {**members(good), "archive/constants.pkl": b"\x80\x02).", "archive/code/__torch__.py": b"boom()"}
    assert_refused(archive(good, content.items()), "E102", "TorchScript")


def test_a_compressed_archive_is_refused_before_it_is_unpacked(good: Path) -> None:
    content = members(good)
    assert_refused(archive(good, content.items(), zipfile.ZIP_DEFLATED), "E102", "compressed")
    bomb = {**content, "archive/data/0": bytes(2**23)}
    assert_refused(archive(good, bomb.items(), zipfile.ZIP_DEFLATED), "E102", "compressed")


def test_a_zip_bomb_is_refused_by_its_announced_size(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "MAX_BYTES", 10**5)
    archive(good, [*members(good).items(), ("archive/data/9", bytes(10**6))], zipfile.ZIP_DEFLATED)
    assert good.stat().st_size < 10**5
    assert_refused(good, "E101", "unpacks")


def test_a_bomb_of_overlapping_members_is_refused(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many directory entries that point at the same bytes."""
    monkeypatch.setattr(model_file, "MAX_BYTES", 10**5)
    content = members(good) | {"archive/data/9": bytes(10**4)}
    with zipfile.ZipFile(good, "w") as target:
        for name, data in content.items():
            target.writestr(name, data)
        target.filelist += [target.getinfo("archive/data/9")] * 50
    assert_refused(good, "E101", "unpacks")


def test_an_archive_with_too_many_members_is_refused(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "MAX_MEMBERS", 20)
    assert load(good).metadata["d"] == 2
    content = itertools.chain(members(good).items(), ((f"archive/data/{i}", b"") for i in range(4, 30)))
    assert_refused(archive(good, content), "E102", "more than 20 members")


@pytest.mark.parametrize("name", ["archive/data.pkl", "archive/data/0", "archive/version"])
def test_duplicate_members_are_refused(good: Path, name: str) -> None:
    content = members(good)
    assert_refused(archive(good, [*content.items(), (name, content[name])]), "E102", "two archive members")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../x",
        "archive/../x",
        "archive/data/../0",
        "other/data/7",
        "archive/.data/../../x",
        "data.pkl",
        "archive/",
    ],
)
def test_members_outside_the_archive_folder_are_refused(good: Path, name: str) -> None:
    assert_refused(archive(good, [*members(good).items(), (name, b"x")]), "E102", "unexpected archive member")


def test_a_member_name_cannot_write_to_the_terminal(good: Path) -> None:
    error = assert_refused(archive(good, [*members(good).items(), ("archive/\x1b[31m\x07" + "x" * 500, b"")]), "E102")
    assert len(error.cause) < 200


def test_bytes_that_belong_to_no_tensor_are_refused(good: Path) -> None:
    assert_refused(
        archive(good, [*members(good).items(), ("archive/data/9", b"x")]), "E102", "data/9 belongs to no tensor"
    )


@pytest.mark.parametrize("name", ["data.pkl", "version"])
def test_missing_members_are_refused(good: Path, name: str) -> None:
    content = {key: data for key, data in members(good).items() if not key.endswith(name)}
    assert_refused(archive(good, content.items()), "E102", name)


def test_missing_or_short_tensor_bytes_are_refused(good: Path) -> None:
    content = members(good)
    for data in (None, b"", content["archive/data/0"][:-4], content["archive/data/0"] + bytes(4)):
        changed = {key: value if key != "archive/data/0" else data for key, value in content.items()}
        path = archive(good, ((key, value) for key, value in changed.items() if value is not None))
        assert_refused(path, "E109", "flow/in.weight")


def test_an_archive_that_torch_refuses_is_refused(good: Path) -> None:
    assert_refused(archive(good, (members(good) | {"archive/version": b"999\n"}).items()), "E109", "torch")
    assert_refused(archive(good, (members(good) | {"archive/byteorder": b"big"}).items()), "E102", "little-endian")


def test_bytes_before_and_after_the_archive_do_not_reach_torch(good: Path) -> None:
    digest, data = load(good).sha256, good.read_bytes()
    hidden = with_pickle(good.with_name("b.pt"), b"\x80\x02cos\ngetpid\n)R.").read_bytes()
    good.write_bytes(hidden + data)
    assert load(good).sha256 == digest
    good.write_bytes(data + hidden)
    assert_refused(good, "E103")


# --- code in files --------------------------------------------------------------------------------------------------


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "owned"


def hostile(path: Path, sentinel: Path) -> dict[str, Path]:
    """Files that create the sentinel when they are unpickled without care."""
    command = f"touch {sentinel}"
    write = f"open({str(sentinel)!r}, 'w').close()"
    payloads: dict[str, Any] = {
        "system": Call(os.system, command),
        "exec": Call(exec, write),
        "eval": Call(eval, write),
        "process": Call(subprocess.run, ["touch", str(sentinel)]),
        "touch": Call(Path.touch, sentinel),
    }
    files = {}
    for name, payload in payloads.items():
        files[name] = path / f"{name}.pt"
        torch.save(payload, files[name])
        files[f"net-{name}"] = raw(path / f"net-{name}.pt", nets={"flow": {"w": payload}})
    files["legacy"] = path / "legacy.pt"
    torch.save(payloads["system"], files["legacy"], _use_new_zipfile_serialization=False)
    files["plain"] = path / "plain.pt"
    files["plain"].write_bytes(pickle.dumps(payloads["system"]))
    streams = {
        "hidden": b"\x80\x02ctorch.serialization\nos.system\n" + text(command) + b"\x85R.",
        "hidden-4": b"\x80\x04\x8c\x13torch.serialization\x8c\x09os.system\x93" + text(command) + b"\x85R.",
        "dotted": b"\x80\x02ctorch._utils\n_import_dotted_name\n"
        + text("os.system")
        + b"\x85R"
        + text(command)
        + b"\x85R.",
        "inst": b"\x80\x02(" + text(command) + b"ios\nsystem\n.",
        "obj": b"\x80\x02(cos\nsystem\n" + text(command) + b"o.",
        "stack": b"\x80\x02\x8c\x02os\x8c\x06system\x93" + text(command) + b"\x85R.",
        "memo": b"\x80\x02\x8c\x02osq\x00\x8c\x06systemq\x01h\x00h\x01\x93" + text(command) + b"\x85R.",
        "first": b"\x80\x02cos\nsystem\n" + text(command) + b"\x85R0" + document(flow(tensor(storage(), [2], [1])))[2:],
        "then-damaged": b"\x80\x02cos\nsystem\n" + text(command) + b"\x85R\xff\xff",
    }
    return files | {name: with_pickle(path / f"{name}.pt", stream) for name, stream in streams.items()}


FOREIGN = {"legacy": "E102", "plain": "E102"}


def test_the_hostile_files_are_hostile(tmp_path: Path, sentinel: Path) -> None:
    """Otherwise the next tests show nothing."""
    harmless = set()
    for name, path in hostile(tmp_path, sentinel).items():
        with contextlib.suppress(AttributeError, RuntimeError, pickle.UnpicklingError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.load(path, weights_only=False)
        if not sentinel.exists():
            harmless.add(name)
        sentinel.unlink(missing_ok=True)
    assert harmless == {"hidden"}  # a dotted name needs protocol 4: see hidden-4


def test_nothing_in_a_hostile_file_is_run(tmp_path: Path, sentinel: Path) -> None:
    for name, path in hostile(tmp_path, sentinel).items():
        code = FOREIGN.get(name, "E103")
        error = assert_refused(path, code)
        assert code == "E102" or "asks for code to be run: " in error.cause
    assert not sentinel.exists()


def test_unsafe_globals_are_named(tmp_path: Path, sentinel: Path) -> None:
    files = hostile(tmp_path, sentinel)
    assert_refused(files["system"], "E103", f"{os.system.__module__}.system")
    assert_refused(files["hidden"], "E103", "torch.serialization.os.system")
    assert_refused(files["stack"], "E103", "os.system")
    assert_refused(files["dotted"], "E103", "torch._utils._import_dotted_name")
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.SiLU()), tmp_path / "module.pt")
    assert_refused(tmp_path / "module.pt", "E103", "torch.nn.modules", "more")
    assert_refused(with_pickle(tmp_path / "a.pt", b"\x80\x02c\x1b[31mos\nsys\ttem\x07\n."), "E103", "os.sys")


@pytest.mark.parametrize(
    "name", ["torch FloatStorage2", "torch.cuda FloatStorage", "Torch FloatStorage", "torch  FloatStorage"]
)
def test_names_that_resemble_safe_ones_are_unsafe(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.partition(" ")
    assert_refused(with_pickle(tmp_path / "a.pt", f"\x80\x02c{module}\n{attribute}\n.".encode("latin-1")), "E103")


@pytest.mark.parametrize("variable", ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD"])
def test_the_environment_cannot_make_loading_unsafe(
    good: Path, sentinel: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    for path in hostile(good.parent, sentinel).values():
        assert_refused(path, "E102" if path.stem in FOREIGN else "E103")
    assert not sentinel.exists()
    assert load(good, shapes).sha256 == weights_digest(nets())


def test_torch_is_asked_for_weights_only_whatever_the_environment(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all checks of ours switched off, the argument alone must still stop a pickle that runs code."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    stream = b"\x80\x02cos\ngetpid\n)R."
    content = {"data.pkl": stream, "version": b"3\n"}
    with pytest.raises(model_file._RefusedError, match="cannot be read by torch"):
        model_file._torch_load(content, {})
    assert load(good).metadata["d"] == 2


def test_a_fresh_interpreter_with_a_hostile_environment_runs_nothing(tmp_path: Path, sentinel: Path) -> None:
    path = hostile(tmp_path, sentinel)["system"]
    script = f"from solver.model_file import load\ntry: load({str(path)!r})\nexcept Exception as e: print(e.line())"
    root = Path(model_file.__file__).parents[1]
    environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("certify: error E103: system.pt asks for code to be run: ")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert not sentinel.exists()


def test_globals_that_a_program_has_declared_safe_stay_unsafe(tmp_path: Path, sentinel: Path) -> None:
    path = hostile(tmp_path, sentinel)["exec"]
    with torch.serialization.safe_globals([exec]):
        assert_refused(path, "E103", "exec")
    assert not sentinel.exists()


# --- pickles that exhaust -------------------------------------------------------------------------------------------


def test_a_deeply_nested_key_does_not_overflow_the_stack(tmp_path: Path) -> None:
    """torch 2.13 itself dies of this one with a segmentation fault."""
    stream = b"\x80\x02}K\x01" + b"\x85" * 100_000 + b"K\x01s."
    assert_refused(with_pickle(tmp_path / "model.pt", stream), "E102", "nested")


def test_tuples_that_double_are_refused(tmp_path: Path) -> None:
    double = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))
    assert_refused(with_pickle(tmp_path / "model.pt", b"\x80\x02}K\x01" + double + b"K\x01s."), "E102")


def test_a_tuple_of_many_long_tuples_is_refused_at_once(tmp_path: Path) -> None:
    long = b"(" + b"K\x01" * 50_000 + b"tq\x00"
    assert_refused(
        with_pickle(tmp_path / "model.pt", b"\x80\x02" + long + b"(" + b"h\x00" * 50_000 + b"t."), "E102", "too long"
    )


def test_a_pickle_that_is_too_long_is_refused(tmp_path: Path) -> None:
    assert_refused(with_pickle(tmp_path / "a.pt", b"\x80\x02" + b"}" * 400_000 + b"."), "E101")
    assert_refused(with_pickle(tmp_path / "b.pt", b"\x80\x02" + text("x" * 2**22) + b"."), "E101")


def test_a_dictionary_that_contains_itself_is_refused(tmp_path: Path) -> None:
    for body in (b"}q\x00" + text("nets") + b"h\x00s.", document(b"}q\x07" + text("w") + b"h\x07s")[2:]):
        with pytest.raises(UserError):
            load(with_pickle(tmp_path / "model.pt", b"\x80\x02" + body))


@pytest.mark.parametrize("key", [b"K\x01", b"}", b")", b"ctorch\nFloatStorage\n", tensor(storage(), [2], [1])])
def test_keys_that_are_no_names_are_refused(tmp_path: Path, key: bytes) -> None:
    assert_refused(with_pickle(tmp_path / "model.pt", b"\x80\x02}" + key + b"K\x01s."), "E102", "dictionary of names")
    assert_refused(with_pickle(tmp_path / "model.pt", b"\x80\x02}(" + key + b"K\x01u."), "E102", "dictionary of names")


# --- structure ------------------------------------------------------------------------------------------------------


def test_the_hand_made_document_is_sound(tmp_path: Path) -> None:
    """Otherwise the tests that change it show nothing."""
    values = torch.tensor([1.0, -2.0])
    metadata = json.dumps({**METADATA, "weights_sha256": weights_digest({"flow": {"w0": values}})})
    stream = document(flow(tensor(storage(), [2], [1])), metadata)
    model = load(with_pickle(tmp_path / "model.pt", stream, values.numpy().tobytes()))
    assert torch.equal(model.nets["flow"]["w0"], values)


@pytest.mark.parametrize("key", ["format", "meta_json", "nets"])
def test_missing_keys_are_refused(tmp_path: Path, key: str) -> None:
    content: dict[str, Any] = {"format": "landau-certify-model", "format_version": 1, "meta_json": "{}", "nets": {}}
    del content[key]
    torch.save(content, tmp_path / "model.pt")
    assert_refused(tmp_path / "model.pt", "E102")


def test_extra_keys_are_refused_and_listed(tmp_path: Path) -> None:
    assert_refused(raw(tmp_path / "model.pt", optimiser="adam"), "E102", "optimiser")
    assert_refused(raw(tmp_path / "model.pt", **{"\x1b[2Jx": "adam"}), "E102", "its keys are x, format")


@pytest.mark.parametrize("version", [0, 2, True, "1", None])
def test_another_format_version_is_refused(tmp_path: Path, version: Any) -> None:
    assert_refused(raw(tmp_path / "model.pt", format_version=version), "E104", "reads version 1")


def test_foreign_torch_files_are_refused(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    contents: list[Any] = [module.state_dict(), dict(module.state_dict()), torch.ones(2), {}, [], 1, "x", None]
    for index, content in enumerate(contents):
        path = tmp_path / f"{index}.pt"
        torch.save(content, path)
        assert_refused(path, "E102", "certify convert")
    torch.save(module.state_dict(), tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    assert_refused(tmp_path / "legacy.pt", "E102", "no zip archive")


def test_nets_other_than_flow_and_score_are_refused(tmp_path: Path) -> None:
    plain = nets()["flow"]
    cases: list[dict[str, Any]] = [{"score": plain}, {"flow": plain, "extra": plain}, {"flow": {}}, {"flow": "x"}]
    for wrong in [*cases, {"flow": torch.ones(2)}]:
        assert_refused(raw(tmp_path / "model.pt", nets=wrong), "E102")
    assert_refused(raw(tmp_path / "model.pt", nets="flow"), "E102", "not a dictionary")
    assert_refused(raw(tmp_path / "model.pt", nets={"flow": OrderedDict(plain)}), "E102")
    assert_refused(raw(tmp_path / "model.pt", nets={"flow": {"deeper": plain}}), "E106", "flow/deeper")
    assert_refused(raw(tmp_path / "model.pt", nets={"flow": {"w": "text"}}), "E106", "flow/w")


@pytest.mark.parametrize("name", ["", "a b", "../x", "\x1b[31mred", "é", "x" * 201, "w\n"])
def test_strange_tensor_names_are_refused(tmp_path: Path, name: str) -> None:
    assert_refused(raw(tmp_path / "model.pt", nets={"flow": {name: torch.ones(2)}}), "E106", "strange name")


# --- metadata -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [*METADATA, "weights_sha256"])
def test_missing_metadata_is_named(tmp_path: Path, key: str) -> None:
    assert_refused(with_metadata(tmp_path / "model.pt", **{key: None}), "E105", f"{key} is missing")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *itertools.product(["problem"], ["", 1, [], "x" * 81, "a b", "b\x1b[31mkw\x07", "bkw2d\n", "<b>"]),
        *itertools.product(["constants", "versions"], [[], {"C": 1}, {"C": {}}, "C=1"]),
        *itertools.product(
            ["t0", "T"], [0, 0.5, "", "-1", "1/0", "1/00", "1e3", "nan", " 1", "1/2/3", "9" * 10, "١", "1\n"]
        ),
        *itertools.product(["d"], [1, 4, 2.0, "2", True]),
        *itertools.product(["architecture", "training"], [[], "free", 1, False]),
        *itertools.product(["weights_sha256"], ["", "0" * 63, "G" * 64, 0, "0" * 64 + "\n"]),
    ],
)
def test_metadata_of_the_wrong_type_is_named(tmp_path: Path, key: str, value: Any) -> None:
    assert_refused(with_metadata(tmp_path / "model.pt", **{key: value}), "E105", f"{key} is not ")


def test_an_empty_window_is_refused(tmp_path: Path) -> None:
    assert_refused(with_metadata(tmp_path / "model.pt", t0="5/2"), "E105", "[5/2, 5/2] is empty")


def test_entries_of_no_concern_are_kept(tmp_path: Path) -> None:
    assert load(with_metadata(tmp_path / "model.pt", note="\x1b[31mé\ud800")).metadata["note"] == "\x1b[31mé\ud800"


DEEP = 100_000


@pytest.mark.parametrize(
    ("meta_json", "words"),
    [
        ("", ""),
        ("{", ""),
        ("[]", "no JSON object"),
        ("1", "no JSON object"),
        ('"x"', "no JSON object"),
        ("null", "no JSON object"),
        ('{"a": NaN}', "NaN"),
        ('{"a": [-Infinity]}', "-Infinity"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "1" * 65 + ".0}", "too long"),
        ('{"a": ' + "1" * 5000 + "}", "5000 digits"),
        ('{"a": 1, "b": 2, "a": 1}', "key a occurs twice"),
        ('{"\\u001b[31m": 1, "\\u001b[31m": 1}', "occurs twice"),
        ('{"a": ' + "[" * 17 + "]" * 17 + "}", "nested deeper"),
        ("[" * DEEP + "]" * DEEP, "unreadable"),
        ('{"a":' * DEEP + "1" + "}" * DEEP, "unreadable"),
        ("[" * DEEP, "unreadable"),
        ('"' + '\\"' * DEEP + "\\", "unreadable"),
        ('{"a": "' + "x" * 2**20 + '"}', "characters are too many"),
        ('{"a": 1} trailing', "unreadable"),
        ("\x1b[31m{", "unreadable"),
        ("\ufeff{}", "unreadable"),
        ('{"a": "\x07"}', "unreadable"),
    ],
    ids=lambda value: str(value)[:20].encode("unicode_escape").decode(),
)
def test_unreadable_metadata_is_refused(tmp_path: Path, meta_json: str, words: str) -> None:
    assert_refused(raw(tmp_path / "model.pt", meta_json=meta_json), "E105", words)


@pytest.mark.parametrize("meta_json", [{"problem": "bkw2d"}, 1, torch.ones(2)])
def test_metadata_that_is_no_string_is_refused(tmp_path: Path, meta_json: Any) -> None:
    assert_refused(raw(tmp_path / "model.pt", meta_json=meta_json), "E105", "no string")


# --- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_that_are_not_finite_are_unusable_and_named(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    weights = torch.ones(3, 3, dtype=dtype)
    weights[1, 2] = value
    error = assert_refused(raw(tmp_path / "model.pt", nets={"flow": {"a": weights[0].clone(), "b": weights}}), "E200")
    assert error.cause == "model.pt has NaN or infinite weights: 1 of 9 in flow/b"
    assert error.exit_code == 4


def test_changed_weights_do_not_match_the_digest(tmp_path: Path) -> None:
    other = nets()
    other["flow"]["in.bias"][0] += 1e-3
    metadata = json.dumps({**METADATA, "weights_sha256": weights_digest(nets())})
    assert_refused(raw(tmp_path / "model.pt", nets=other, meta_json=metadata), "E107", "digests differ")


@pytest.mark.parametrize(
    "weights",
    [
        *(
            torch.ones(2, dtype=dtype)
            for dtype in (torch.int64, torch.int32, torch.uint8, torch.bool, torch.float16, torch.bfloat16)
        ),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, dtype=torch.complex128).imag,
        torch.eye(2).to_sparse(),
        torch.nn.Parameter(torch.ones(2)),
        torch.ones(2, requires_grad=True),
        torch.ones(2, dtype=torch.uint16),
        torch.ones(4)[::2],
        torch.ones(4)[2:],
        torch.ones(2, 3).T,
        torch.ones(1).expand(10**12),
        torch.ones(4)[:2],
        torch.conj(torch.ones(2, dtype=torch.complex64)).imag,
    ],
    ids=lambda value: f"{value.dtype}-{tuple(value.shape)}-{value.layout}",
)
def test_tensors_that_are_not_plain_are_refused(tmp_path: Path, weights: torch.Tensor) -> None:
    content = {"format": "landau-certify-model", "format_version": 1, "nets": {"flow": {"w": weights}}}
    content["meta_json"] = json.dumps({**METADATA, "weights_sha256": "0" * 64})
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "model.pt")
    assert caught.value.code in ("E106", "E102")
    assert "model.pt" in caught.value.line()


def test_tensors_that_share_memory_are_refused(tmp_path: Path) -> None:
    base = torch.ones(4)
    assert_refused(raw(tmp_path / "model.pt", nets={"flow": {"a": base, "b": base}}), "E106", "flow/a and flow/b")
    assert_refused(
        raw(tmp_path / "model.pt", nets={"flow": {"a": base}, "score": {"a": base.reshape(2, 2)}}), "E106", "share"
    )
    assert_refused(raw(tmp_path / "model.pt", nets={"flow": {"a": base[:2], "b": base[2:]}}), "E106", "view")


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (tensor(storage(), [3], [1]), "E106"),
        (tensor(storage(), [2**30, 2**30], [0, 0]), "E106"),
        (tensor(storage(), [2**30, 2**30], [2**30, 1]), "E106"),
        (tensor(storage(), [-2], [1]), "E106"),
        (tensor(storage(), [-2, -1], [-1, 1]), "E106"),
        (tensor(storage(), [2], [1], offset=1), "E106"),
        (tensor(storage(), [2], [1], offset=-1), "E106"),
        (tensor(storage(), [2], [-1]), "E106"),
        (tensor(storage(), [2], []), "E106"),
        (tensor(storage(), [2], [1], grad=b"\x88"), "E106"),
        (tensor(storage(), [2], [1], grad=b"K\x00"), "E102"),
        (tensor(storage(), [2] * 40, [1] * 40), "E102"),
        (tensor(storage(count=2**30), [2**30], [1]), "E109"),
        (tensor(storage(count=-2), [-2], [1]), "E106"),
        (tensor(storage(count=1), [1], [1]), "E109"),
        (tensor(storage(kind="DoubleStorage"), [2], [1]), "E109"),
        (tensor(storage(kind="LongStorage"), [2], [1]), "E106"),
        (tensor(storage(key="1"), [2], [1]), "E109"),
        (tensor(storage(key="../data.pkl"), [2], [1]), "E109"),
        (tensor(storage(device="cuda:0"), [2], [1]), "E106"),
        (tensor(storage(device="meta"), [2], [1]), "E106"),
        (tensor(b"K\x01", [2], [1]), "E102"),
        (storage(), "E106"),
        (b"K\x01", "E106"),
        (b"ctorch\nFloatStorage\n", "E106"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hand_made_tensors_are_refused_before_torch_sees_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: bytes, code: str
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    assert_refused(with_pickle(tmp_path / "model.pt", document(flow(entry))), code)


def test_a_tensor_that_torch_reads_otherwise_is_refused(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line of defence: what torch returns is compared with what was checked."""
    honest = torch.load
    for change in (
        lambda value: value.double(),
        lambda value: value.reshape(2, -1),
        torch.nn.Parameter,
        lambda value: value.to_sparse(),
        lambda value: value.to("meta"),
        lambda value: "text",
    ):

        def lying(*arguments: Any, change: Callable[[Any], Any] = change, **options: Any) -> Any:
            found = honest(*arguments, **options)
            found["nets"]["flow"]["in.weight"] = change(found["nets"]["flow"]["in.weight"])
            return found

        monkeypatch.setattr(torch, "load", lying)
        assert_refused(good, "E106", "flow/in.weight")


# --- architecture ---------------------------------------------------------------------------------------------------


def test_shapes_must_be_those_of_the_architecture(good: Path) -> None:
    architecture = shapes(METADATA)

    def expect(words: str, **changed: Any) -> None:
        assert_refused(good, "E106", words, expected=lambda metadata: {**architecture, **changed})

    expect("flow/in.weight has shape [4, 2], not [4, 3]", flow={"in.weight": (4, 3), "in.bias": (4,)})
    expect("does not have: flow/in.bias", flow={"in.weight": (4, 2)})
    expect("lacks the tensor flow/out", flow={**architecture["flow"], "out": (1,)})
    expect("its architecture has extra, flow, score", extra={"w": (1,)})
    assert_refused(good, "E106", "has flow", expected=lambda metadata: {"flow": architecture["flow"]})
    assert load(good, lambda metadata: {net: {k: list(v) for k, v in s.items()} for net, s in architecture.items()})  # type: ignore[misc]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("unknown activation '\x1b[31mrelu'\nsecond line"),
        KeyError("flow"),
        TypeError("no"),
        RecursionError("deep"),
        UserError("E400", "kind is unknown", "Use free."),
        ValueError(),
    ],
    ids=repr,
)
def test_an_architecture_that_is_unknown_is_refused(good: Path, error: Exception) -> None:
    def unknown(_: Mapping[str, Any]) -> Any:
        raise error

    assert_refused(good, "E106", "unfit architecture", expected=unknown)
    assert_refused(good, "E106", "unfit architecture", expected=lambda metadata: None)


# --- words ----------------------------------------------------------------------------------------------------------


def test_a_file_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    assert_refused(tmp_path / "a\x1b[31m\nb.pt", "E100", "a b.pt does not exist")
    assert_refused(tmp_path / "a\udcffb.pt", "E100", "ab.pt does not exist")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain text", "plain text"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x9b31mred", "31mred"),
        ("a\r\nb\tc\x00d\x7f\x08", "a b cd"),
        ("left\u202eright\u2066\u200b", "leftright"),
        ("line\u2028line\u00a0x", "line line x"),
        ("\ud800x", "x"),
        ("x\U000f0000", "x"),
        ("naïve 速度 ν", "naïve 速度 ν"),
        ("", ""),
    ],
)
def test_printable_text_is_harmless(value: str, expected: str) -> None:
    assert printable(value) == expected


def test_printable_text_is_short() -> None:
    assert printable("x" * 80) == "x" * 80
    assert printable("x" * 81) == "x" * 79 + "…"
    assert printable("x" * 10**7, 10) == "xxxxxxxxx…"
    assert all(len(printable("ab " * 40, limit)) <= limit for limit in range(1, 100))
    everything = "".join(map(chr, range(0x11000)))
    assert all(printable(everything[start : start + 64]).isprintable() for start in range(0, len(everything), 64))
