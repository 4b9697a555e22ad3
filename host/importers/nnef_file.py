"""NNEF models as they lie on disk: a folder or a tar archive of graph.nnef, graph.quant and .dat files.

The text goes to Khronos' own parser (package ``nnef``). It trusts what it reads: deep nesting and empty
tensor literals end the whole process, large integers wrap. So each file is read token by token first, and
only flat syntax with sound numbers gets through. Tensor files are read here: their lengths are checked.

Format: https://registry.khronos.org/NNEF/specs/1.0/nnef-1.0.5.html, chapters 2 (syntax) and 5 (storage).
"""
import lzma
import re
import struct
import tarfile
import zlib
from dataclasses import dataclass, field
from importlib import import_module
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...rtl.contract.errors import ModelError, ToolError, UnsupportedError
from ..graph.ir import Array

GRAPH, QUANTISATION = "graph.nnef", "graph.quant"
SIZE_LIMIT = 2**31 - 1
"""Bytes of all files of a model."""
TEXT_LIMIT = 2**24
"""Bytes of graph.nnef, and of graph.quant."""
DEPTH_LIMIT = 12
"""Brackets within brackets: tensors have up to 8 dimensions, in brackets of the operator and its list."""
MEMBER_LIMIT = 2**16

HEADER = 128
MAGIC = b"\x4e\xef\x01\x00"
ITEMS = {0: "float", 1: "uint", 2: "uint", 3: "int", 4: "int"}  # 2 and 3 are quantised integers
UNSIGNED = 1  # with the word behind it set, it is signed: an older way to say so
BITS = (8, 16, 32, 64)
RANK_LIMIT = 8

DAMAGED = "the model is damaged, fetch or convert it again"

_TOKEN = re.compile(r"(?P<space>\s+|\#[^\n]*)|(?P<name>[A-Za-z_]\w*)|(?P<number>\d+(\.\d*)?([eE][+-]?\d+)?)"
                    r"|(?P<text>'[^']*'|\"[^\"]*\")|(?P<mark>->|&&|\|\||[<>=!]=|[-()\[\]{}<>,;:=+*/^&|!?])",
                    re.ASCII)
_EXPRESSIONS = {"for", "if", "else", "yield", "in", "length_of", "shape_of", "range_of", "fragment",
                "extension"}
_FLAT_MARKS = set("()[]{}<>,;:=-") | {"->"}
_RELU6 = "fragment relu6( x: tensor<scalar> ) -> ( y: tensor<scalar> ) { y = clamp(x, 0.0, 6.0); }"
"""The one fragment that is known: Khronos' converters define it in each model that they take from TFLite."""
_RELU6_BODIES = {"y=max(min(x,6.0),0.0);", "y=min(max(x,0.0),6.0);", "y=clamp(x,0.0,6.0);"}


@dataclass
class Files:
    """The files of one model by name; ``size`` counts the bytes read so far."""

    name: str
    folder: Path | None
    members: dict[str, bytes] = field(default_factory=dict)
    size: int = 0

    def has(self, file: str) -> bool:
        return file in self.members if self.folder is None else (self.folder / file).is_file()

    def read(self, file: str, limit: int = SIZE_LIMIT) -> bytes:
        """Raises ModelError for a file that is missing, too large or cannot be read."""
        try:
            size = len(self.members[file]) if self.folder is None else (self.folder / file).stat().st_size
            self.size += size
            if size > limit or self.size > SIZE_LIMIT:
                raise ModelError(f"{self.name}: {file!r} has {size} bytes; the limit is {limit}, "
                                 f"and {SIZE_LIMIT} for all files")
            return self.members[file] if self.folder is None else (self.folder / file).read_bytes()
        except KeyError:
            raise ModelError(f"{self.name}: the archive has no file {file!r}; {DAMAGED}") from None
        except OSError as error:
            raise ModelError(f"{self.name}: {file!r} cannot be read ({error.strerror}); {DAMAGED}") from None


def looks_like_nnef(path: Path) -> bool:
    """A folder with a graph.nnef, that file itself, or an archive by its name."""
    if path.is_dir():
        return (path / GRAPH).is_file()
    return path.name.lower().endswith((".nnef", ".tgz", ".tar", ".tar.gz"))


def open_files(path: Path) -> Files:
    """Raises ModelError for what is neither a folder nor an archive of an NNEF model."""
    if path.name == GRAPH and path.is_file() and not tarfile.is_tarfile(path):
        path = path.resolve().parent
    if path.is_dir():
        if not (path / GRAPH).is_file():
            raise ModelError(f"{path}: the folder has no {GRAPH}; give the folder that the exporter wrote")
        return Files(path.name, path)
    try:
        with tarfile.open(path, "r:*") as archive:
            members = _members(path.name, archive)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except (tarfile.TarError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise ModelError(f"{path}: not an NNEF model: neither a folder with {GRAPH} nor a tar archive "
                         f"({error})") from None
    if GRAPH not in members:
        raise ModelError(f"{path}: the archive has no {GRAPH} at its top; pack what lies in the folder")
    return Files(path.name, None, members)


def _members(name: str, archive: tarfile.TarFile) -> dict[str, bytes]:
    """Regular files by their path, in memory: nothing is written anywhere."""
    members: dict[str, bytes] = {}
    total = 0
    for count, member in enumerate(archive):
        total += max(0, member.size)
        if total > SIZE_LIMIT or count >= MEMBER_LIMIT:
            raise ModelError(f"{name}: unpacks to more than {SIZE_LIMIT} bytes or {MEMBER_LIMIT} files")
        if member.isreg() and not member.issparse():
            content = archive.extractfile(member)
            assert content is not None
            members[str(PurePosixPath(member.name))] = content.read()
    return members


def tensor_file(label: str) -> str:
    """The file of a variable; ValueError for a label that leaves the model's folder."""
    parts = PurePosixPath(label.lstrip("/") + ".dat").parts
    if not label or ".." in parts or "\\" in label or "\0" in label or ":" in label:
        raise ValueError(label)
    return str(PurePosixPath(*parts))


def read_tensor(files: Files, file: str) -> Array:
    """The array in a .dat file, with the type it is stored in.

    Raises ModelError for a file that contradicts itself, UnsupportedError for items that NumPy has not.
    """
    data = files.read(file)
    where = f"{files.name}: tensor file {file!r}"
    if len(data) < HEADER or data[:2] != MAGIC[:2]:
        raise ModelError(f"{where} does not begin like one ({data[:4]!r}); {DAMAGED}")
    if data[2:4] != MAGIC[2:]:
        raise UnsupportedError(f"{where} has version {data[2]}.{data[3]}; supported is 1.0")
    length, rank, *rest = struct.unpack("<14I", data[4:60])
    extents, bits, item, flag = rest[:8], rest[8], rest[9], rest[10]
    if rank > RANK_LIMIT:
        raise ModelError(f"{where} has {rank} dimensions, more than {RANK_LIMIT}; {DAMAGED}")
    kind = "int" if item == UNSIGNED and flag else ITEMS.get(item)
    if kind is None or bits not in BITS or (kind, bits) == ("float", 8):
        raise UnsupportedError(f"{where} has items of type {item} and {bits} bits; supported are integers of "
                               "8 to 64 bits and floats of 16 to 64")
    dtype = np.dtype(f"{kind}{bits}").newbyteorder("<")
    shape = extents[:rank]
    if length != len(data) - HEADER or prod(shape) * dtype.itemsize != length:
        raise ModelError(f"{where} has {len(data) - HEADER} bytes of data; its header says {length}, and "
                         f"{shape} items of {bits} bits; {DAMAGED}")
    return np.frombuffer(data, dtype, offset=HEADER).reshape(shape).astype(dtype.newbyteorder("="))


def package() -> Any:
    """Khronos' package. Raises ToolError where it is not installed."""
    try:
        return import_module("nnef")
    except ImportError as error:
        raise ToolError(f"NNEF models need the nnef package: pip install celosia[nnef] ({error})") from None


def parse(files: Files) -> Any:
    """nnef.Graph: tensors with quantisation, operations, names of inputs and outputs.

    Raises
    ------
    ModelError : text that is no NNEF
    UnsupportedError : fragments and expressions
    ToolError : the nnef package is not installed
    """
    nnef = package()
    text = _flat(files, GRAPH)
    quantisation = _flat(files, QUANTISATION) if files.has(QUANTISATION) else None
    try:
        return nnef.parse_string(text, quantisation)
    except Exception as error:  # its C++ exceptions arrive as Exception itself
        message = str(error).replace("'input'", GRAPH).replace("'quantization'", QUANTISATION)
        raise ModelError(f"{files.name}: {message}; {DAMAGED}") from None


def _flat(files: Files, file: str) -> str:
    """The text of a file for the parser, if that can do no harm; lines keep their numbers."""
    try:
        text = files.read(file, TEXT_LIMIT).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{files.name}: {file} is no text ({error.reason} at byte {error.start}); "
                         f"{DAMAGED}") from None
    tokens = _tokens(files.name, file, text)
    if file == QUANTISATION:
        _check(files.name, file, text, tokens)
        return text
    start = next((i for i, (kind, token, _) in enumerate(tokens) if (kind, token) == ("name", "graph")),
                 len(tokens))
    if start == len(tokens) or tokens[0][1] != "version" or tokens[1][0] != "number":
        raise ModelError(f"{files.name}: {file} must begin with 'version 1.0;' and have a graph; {DAMAGED}")
    _check_preamble(files.name, tokens[3:start])
    _check(files.name, file, text, tokens[start:])
    at = tokens[start][2]
    return (f"version {tokens[1][1]}; extension KHR_enable_fragment_definitions; {_RELU6}"
            + "\n" * text[:at].count("\n") + " " + text[at:])


Token = tuple[str, str, int]  # kind, text, place


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _tokens(name: str, file: str, text: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ModelError(f"{name}: {file}, line {_line(text, at)}: {text[at:at + 8]!r} is no NNEF; "
                             f"{DAMAGED}")
        kind = str(match.lastgroup)
        if kind != "space":
            tokens.append((kind, match[0], at))
        at = match.end()
    return tokens


def _check_preamble(name: str, tokens: list[Token]) -> None:
    """Extensions, and the fragment relu6."""
    words = [token for _, token, _ in tokens]
    while words:
        if words[0] == "extension" and len(words) >= 3:
            del words[:3]
        elif words[0] == "fragment" and "}" in words:
            end = words.index("}")
            body = "".join(words[words.index("{") + 1:end]) if "{" in words[:end] else ""
            if words[1] != "relu6" or body not in _RELU6_BODIES:
                raise UnsupportedError(f"{name}: {GRAPH} defines the operator {words[1]!r} itself; "
                                       "supported are standard operators, write the model with these")
            del words[:end + 1]
        else:
            raise ModelError(f"{name}: {GRAPH} has {words[0]!r} before its graph; {DAMAGED}")


def _check(name: str, file: str, text: str, tokens: list[Token]) -> None:
    """What the parser cannot stand, and what is not flat syntax.

    Brackets nest a little; graph.quant has no empty tensor; numbers fit; lists hold one kind of thing; in the
    graph, a call stands behind the names of its results.
    """
    def line(at: int) -> str:
        return f"{name}: {file}, line {_line(text, at)}"

    before, called = ("", ""), True
    open_lists: list[set[str] | None] = []  # of each open bracket, the kinds of things in its list
    for kind, token, at in tokens:
        inside = open_lists[-1] if open_lists else None
        if token in ("(", "[", "{"):
            call = token != "[" and before[0] == "name"
            fresh = set[str]() if token == "[" else None
            open_lists.append(None if call or token == "{" else inside if inside is not None else fresh)
        elif token in (")", "]", "}") and open_lists:
            open_lists.pop()
        elif kind != "mark" and inside is not None:
            inside.add(_kind(kind, token))
        mixed = inside is not None and len(inside) > 1 and inside != {"name", "real"}
        called = token == "=" or (called and token not in ("{", ";"))
        if (kind == "mark" and token not in _FLAT_MARKS) or (kind == "name" and token in _EXPRESSIONS):
            raise UnsupportedError(f"{line(at)}: {token!r} belongs to an expression; "
                                   "supported is flat syntax, one operator after the other")
        if kind == "number" and not _fits(token):
            raise ModelError(f"{line(at)}: the number {token[:32]} is too large; {DAMAGED}")
        if (mixed or len(open_lists) > DEPTH_LIMIT or (before[1] == "-" and kind != "number")
                or (file == QUANTISATION and (before[1], token) == ("[", "]"))
                or (file == GRAPH and not called and before[0] == "name" and token == "(")):
            raise ModelError(f"{line(at)}: {before[1] + token!r} is out of place; {DAMAGED}")
        before = kind, token


def _kind(kind: str, token: str) -> str:
    """Tensors may stand beside reals; anything else only beside its like."""
    if kind == "number":
        return "integer" if token.isdigit() else "real"
    return "logical" if token in ("true", "false") else kind


def _fits(number: str) -> bool:
    """Integers have 32 bits, reals are float32."""
    if len(number) > 64:
        return False
    return int(number) < 2**31 if number.isdigit() else float(number) <= float(np.finfo(np.float32).max)
