"""Where and how gateware can be broken: small edits of its source, each of which is one mutant.

An edit replaces one expression of a function that describes hardware. Constructors, error messages, widths
and Python's own conditions are left alone: what they get wrong shows as soon as anything is built.
"""
import ast
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

KINDS = {
    "removed": "an assignment is left out: lost tokens, missing clears",
    "stuck": "what is assigned has its lowest bit stuck at 1",
    "inverted": "the condition of an If or Elif is inverted",
    "off by one": "a constant, an index or a bound is one more",
    "compared": "a comparison includes or leaves out the equal case, or is turned round",
    "swapped": "two operands change places",
    "gate": "and for or, or an inversion is left out",
    "arithmetic": "plus for minus, left shift for right shift",
    "sign": "a signed value is taken as unsigned",
    "reset": "a register starts with another value",
    "latency": "a delay is a cycle longer, or a register is wires or the other way round",
}

BINARY = {ast.BitAnd: ("&", "|", "gate"), ast.BitOr: ("|", "&", "gate"), ast.Add: ("+", "-", "arithmetic"),
          ast.Sub: ("-", "+", "arithmetic"), ast.LShift: ("<<", ">>", "arithmetic"),
          ast.RShift: (">>", "<<", "arithmetic")}
COMPARISONS = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
SHAPES = {"Signal", "Memory", "ArrayLayout", "StructLayout", "range", "Multiplier", "Scaler"}
"""Calls whose arguments are widths and sizes: one more of these is rarely a fault that anybody can see."""
DELAYS = {"delay", "delayed"}


@dataclass(frozen=True)
class Mutant:
    """One edit of one file: ``text[start:end]`` becomes ``new``, offsets in bytes."""

    path: str  # below the gateware's folder
    function: str
    line: int
    kind: str
    old: str
    new: str
    start: int
    end: int
    ordinal: int  # of several equal edits in the function

    @property
    def id(self) -> str:
        """The same for as long as function and edit are, wherever they move in the file."""
        parts = (self.path, self.function, self.kind, self.old, self.new, str(self.ordinal))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]

    @property
    def block(self) -> str:
        return Path(self.path).parts[0].removesuffix(".py")

    def apply(self, text: bytes) -> bytes:
        return text[: self.start] + self.new.encode() + text[self.end :]

    def __str__(self) -> str:
        def short(code: str) -> str:
            flat = " ".join(code.split())
            return flat if len(flat) <= 60 else flat[:57] + "..."

        return f"{self.path}:{self.line} {self.kind}: {short(self.old)}  ->  {short(self.new)}"


def mutants_of(folder: Path, path: str) -> list[Mutant]:
    """All mutants of one source file, in the order of the source."""
    text = (folder / path).read_bytes()
    finder = _Finder(text)
    finder.module(ast.parse(text))
    seen: dict[tuple[str, ...], int] = {}
    found = []
    for function, line, kind, start, end, new in sorted(finder.edits, key=lambda edit: edit[3:]):
        old = text[start:end].decode()
        key = (function, kind, old, new)
        seen[key] = seen.get(key, -1) + 1
        found.append(Mutant(path, function, line, kind, old, new, start, end, seen[key]))
    return found


class _Finder:
    """Walks the functions that describe hardware and notes every edit."""

    def __init__(self, text: bytes) -> None:
        self.edits: list[tuple[str, int, str, int, int, str]] = []
        self._text = text
        self._lines = [0]
        for line in text.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._function = ""
        self._clocked: set[str] = set()

    def module(self, tree: ast.Module) -> None:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and inner.name != "__init__":
                        self._enter(inner, f"{node.name}.{inner.name}")
            elif isinstance(node, ast.FunctionDef):
                self._enter(node, node.name)

    def _enter(self, node: ast.FunctionDef, name: str) -> None:
        if not _describes_hardware(node):
            return
        self._function, self._clocked = name, set(_clocked_names(node))
        for statement in node.body:
            self._visit(statement)

    def _place(self, node: ast.AST) -> tuple[int, int]:
        return (self._lines[node.lineno - 1] + node.col_offset,
                self._lines[node.end_lineno - 1] + node.end_col_offset)

    def _source(self, node: ast.AST) -> str:
        start, end = self._place(node)
        return self._text[start:end].decode()

    def _edit(self, node: ast.AST, kind: str, new: str) -> None:
        self.edits.append((self._function, node.lineno, kind, *self._place(node), new))

    def _children(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            self._visit(child)

    def _visit(self, node: ast.AST) -> None:
        handler: Callable[[ast.AST], None] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        (handler or self._children)(node)

    def _nothing(self, node: ast.AST) -> None:
        pass

    _raise = _joinedstr = _assert = _nothing

    def _functiondef(self, node: ast.FunctionDef) -> None:
        for statement in node.body:
            self._visit(statement)

    def _if(self, node: ast.If) -> None:
        for statement in (*node.body, *node.orelse):
            self._visit(statement)

    def _for(self, node: ast.For) -> None:
        for statement in node.body:
            self._visit(statement)

    def _ifexp(self, node: ast.IfExp) -> None:
        self._visit(node.body)
        self._visit(node.orelse)

    def _generatorexp(self, node: ast.GeneratorExp) -> None:
        self._visit(node.elt)

    _listcomp = _generatorexp

    def _dictcomp(self, node: ast.DictComp) -> None:
        self._visit(node.value)

    def _augassign(self, node: ast.AugAssign) -> None:
        domain = _domain(node)
        if domain:
            start, _ = self._place(node.target)
            end = self._place(node.target)[1]
            other = {"sync": "comb", "comb": "sync"}[domain]
            self.edits.append((self._function, node.lineno, "latency", end - len(domain), end, other))
        self._visit(node.value)

    def _withitem(self, node: ast.withitem) -> None:
        call = node.context_expr
        if isinstance(call, ast.Call) and _name(call) in ("If", "Elif"):
            self._edit(call.args[0], "inverted", f"(({self._source(call.args[0])}) == 0)")
        self._visit(call)

    def _call(self, node: ast.Call) -> None:
        name, function = _name(node), node.func
        if name == "eq" and isinstance(function, ast.Attribute):
            self._edit(node, "removed", "[]")
            value = node.args[0]
            if not isinstance(value, ast.Constant):
                self._edit(value, "stuck", f"(({self._source(value)}) | 1)")
            self._visit(function.value)
            self._visit(value)
            return
        if name == "Signal" or (name == "like" and self._source(function) == "Signal.like"):
            return  # resets are found at the assignment that makes the register
        if name == "signed":
            self._edit(node, "sign", f"({self._source(node.args[0])})")
            return
        if name == "as_signed" and isinstance(function, ast.Attribute):
            self._edit(node, "sign", self._source(function.value))
        if name in ("Mux", "Cat") and len(node.args) >= 2 and not isinstance(node.args[-1], ast.Starred):
            a, b = node.args[-2:]
            (start, _), (_, end) = self._place(a), self._place(b)
            new = f"{self._source(b)}, {self._source(a)}"
            self.edits.append((self._function, node.lineno, "swapped", start, end, new))
        if name in DELAYS and len(node.args) >= 3:
            self._edit(node.args[2], "latency", f"({self._source(node.args[2])}) + 1")
            self._visit(node.args[1])
            return
        if name in SHAPES:
            return
        self._children(node)

    def _assign(self, node: ast.Assign) -> None:
        value, target = node.value, node.targets[0]
        if (isinstance(value, ast.Call) and isinstance(target, ast.Name) and target.id in self._clocked
                and self._source(value.func) in ("Signal", "Signal.like")
                and not any(k.arg in ("init", "reset_less") for k in value.keywords)):
            inside = self._source(value)[:-1].rstrip().rstrip(",")
            self._edit(value, "reset", f"{inside}{'' if inside.endswith('(') else ', '}init=1)")
        self._children(node)

    def _constant(self, node: ast.Constant) -> None:
        if type(node.value) is int:
            self._edit(node, "off by one", str(node.value + 1))

    def _unaryop(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Invert):
            self._edit(node, "gate", f"({self._source(node.operand)})")
        self._visit(node.operand)

    def _compare(self, node: ast.Compare) -> None:
        operator = COMPARISONS.get(type(node.ops[0]))
        if len(node.ops) == 1 and operator:
            a, b = self._source(node.left), self._source(node.comparators[0])
            self._edit(node, "compared", f"({a} {operator} {b})")
        self._children(node)

    def _binop(self, node: ast.BinOp) -> None:
        a, b = self._source(node.left), self._source(node.right)
        if type(node.op) in BINARY:
            sign, other, kind = BINARY[type(node.op)]
            self._edit(node, kind, f"(({a}) {other} ({b}))")
            if sign == "-":
                self._edit(node, "swapped", f"(({b}) - ({a}))")
        self._children(node)


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _domain(node: ast.AugAssign) -> str:
    """sync or comb for ``m.d.sync += …``, else nothing."""
    target = node.target
    held = isinstance(target, ast.Attribute) and isinstance(target.value, ast.Attribute) and target.value.attr
    return target.attr if held == "d" and target.attr in ("sync", "comb") else ""


def _describes_hardware(node: ast.FunctionDef) -> bool:
    """It adds to a module, or returns an expression of values."""
    inside = list(ast.walk(node))
    names = {inner.id for inner in inside if isinstance(inner, ast.Name)}
    return (bool(names & {"m", "Mux", "Cat", "Const", "Signal"})
            or any(isinstance(inner, ast.AugAssign) and _domain(inner) for inner in inside))


def _clocked_names(node: ast.FunctionDef) -> Iterator[str]:
    """Names of the signals that are assigned in the clock domain."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.AugAssign) and _domain(inner) == "sync":
            for call in ast.walk(inner.value):
                if isinstance(call, ast.Call) and _name(call) == "eq":
                    target = call.func.value if isinstance(call.func, ast.Attribute) else None
                    if isinstance(target, ast.Name):
                        yield target.id
