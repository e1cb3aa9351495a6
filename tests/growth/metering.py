"""The meter: modules made to count the work they do, in steps of Python and in what they hand to C, never in time.

While `install` is in force, each module that is imported anew is rewritten so that it counts

- each call, each turn of a loop or comprehension, and
- for what C does in one go, the size of everything it has to go over: texts and containers that a built-in function or
  method is given, is a method of, or gives back; what a slice, a sum or an f-string copies; what `in`, `==` and `del`
  go over. What is known to look at less counts for less: `append`, `get`, `find` up to where it found, and so on; and
  what is known to cost more counts for more: sorting, numbers out of many digits, the middle of a deque, accents that
  are put in order.
- For a regular expression, the steps of a backtracking matcher (`stepping`).

What it cannot see: work in C that is not in proportion to what went in and came out (msgspec, httptools, hashes and the
like are taken to be linear), and modules that are not rewritten: Quart, Hypercorn, h11, numpy. Memory is not counted.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
import unicodedata
from collections import OrderedDict, deque
from importlib.machinery import PathFinder, SourceFileLoader
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from tests.growth.stepping import count_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.machinery import ModuleSpec

PREFIXES = ("reference_server", "simulator")
STANDARD = (
    "base64",
    "heapq",
    "hpack.hpack",
    "hpack.huffman",
    "hpack.table",
    "ipaddress",
    "json.decoder",
    "tomllib._parser",
    "urllib.parse",
    "prometheus_client.parser",
)
"""Modules of others that are written in Python and go over foreign bytes."""
_NAME = "__work__"
_SIZED = (str, bytes, bytearray, memoryview, list, tuple, dict, set, frozenset, deque, OrderedDict)
_COPIED = (str, bytes, tuple)
_FRAME_READERS = frozenset({"super", "locals", "globals", "vars", "dir", "TypeVar", "ParamSpec"})
_CONSTANT = frozenset(
    {
        *(
            "len",
            "bool",
            "isinstance",
            "issubclass",
            "getattr",
            "hasattr",
            "setattr",
            "id",
            "iter",
            "next",
            "callable",
            "type",
        ),
        *("enumerate", "zip", "range", "map", "filter", "reversed", "memoryview", "islice", "chain"),
    }
)
_CONSTANT_METHODS = frozenset(
    {
        *((list, name) for name in ("append",)),
        *((dict, name) for name in ("get", "setdefault", "pop", "popitem", "items", "keys", "values", "move_to_end")),
        *((OrderedDict, name) for name in ("get", "pop", "popitem", "move_to_end", "items")),
        *((set, name) for name in ("add", "discard", "remove", "pop")),
        *((deque, name) for name in ("append", "appendleft", "pop", "popleft")),
    }
)
_BY_ARGUMENTS = frozenset({"startswith", "endswith", "extend", "update", "removeprefix", "removesuffix", "isdisjoint"})
_FINDERS = frozenset({"find", "index"})
_DIGITS_MAX = sys.get_int_max_str_digits()


class TooMuchError(Exception):
    """More work than the meter allows."""


def size(value: Any) -> int:
    """Return how much there is to go over."""
    if isinstance(value, _SIZED):
        return len(value)
    return value.bit_length() >> 6 if type(value) is int else 0


def _accents_in_order(text: str) -> int:
    """Return the steps of putting accents in order, run by run: CPython moves each to its place past those before."""
    steps = run = 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        steps += run
    return steps


class Meter:
    """What rewritten modules call. `work` is what was counted; past `most` it raises TooMuchError."""

    def __init__(self) -> None:
        self.work = 0
        self.most = sys.maxsize

    def count(self, work: int) -> None:
        """Count some work."""
        self.work += work
        if self.work > self.most:
            raise TooMuchError

    def step(self) -> None:
        """Count a turn of a loop, or the call of a function."""
        self.count(1)

    def one(self, value: Any) -> Any:
        """Count one turn of a comprehension."""
        self.count(1)
        return value

    def made(self, value: Any) -> Any:
        """Count what was copied into a new value; a view copies nothing."""
        self.count(1 if isinstance(value, memoryview) else 1 + size(value))
        return value

    def grown(self, value: Any) -> None:
        """Count what `+=` copied: all of what cannot change, and nothing of what grows in its place."""
        self.count(len(value) if isinstance(value, _COPIED) else 1)

    def deleted(self, container: Any, *, front: bool) -> None:
        """Count what `del` moves; a bytearray forgets its front for nothing."""
        moves = isinstance(container, list) or (isinstance(container, bytearray) and not front)
        self.count(1 + (len(container) if moves else 0))

    def item(self, container: Any, key: Any) -> Any:
        """Look up one item."""
        if isinstance(container, deque):
            self.count(1 + min(key % max(1, len(container)), -key % max(1, len(container))) // 64)
        elif isinstance(key, str | bytes):
            self.count(1 + len(key))
        return container[key]

    def contains(self, container: Any, value: Any) -> Any:
        """Return whether something is in a container."""
        goes_over = isinstance(container, str | bytes | bytearray | list | tuple | deque)
        self.count(1 + (len(container) if goes_over else 0) + size(value))
        return value in container

    def equal(self, one: Any, other: Any) -> Any:
        """Compare two values."""
        self.count(1 + (size(one) if size(one) == size(other) else 0))
        return one == other

    def call(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
        """Call a function, and count what C goes over in it."""
        kind = type(function)
        if kind is FunctionType or kind is MethodType:
            self.count(1)
            return function(*arguments, **named)
        owner = getattr(function, "__self__", None)
        name = str(getattr(function, "__name__", ""))
        if isinstance(owner, re.Pattern):
            self._match(owner, name, arguments)
            return function(*arguments, **named)
        if owner is re or getattr(function, "__module__", "") == "re":
            return function(*arguments, **named)
        if isinstance(function, type) and function.__module__ not in {"builtins", "collections"}:
            self.count(1)  # a value that refers to its parts
            return function(*arguments, **named)
        given = sum(map(size, arguments)) + sum(map(size, named.values()))
        self.count(self._before(function, owner, name, arguments, given))
        result = function(*arguments, **named)
        self.count(self._after(owner, name, arguments, result))
        return result

    @staticmethod
    def _before(function: Any, owner: Any, name: str, arguments: tuple[Any, ...], given: int) -> int:
        kind = type(owner)
        if (name in _CONSTANT and not isinstance(owner, _SIZED)) or (kind is list and name == "pop" and not arguments):
            return 1
        if function is int and arguments and isinstance(arguments[0], str | bytes) and len(arguments) == 1:
            digits = len(arguments[0])
            return 1 + (digits * digits // 64 if digits <= _DIGITS_MAX else digits)
        if function is unicodedata.normalize:
            return 1 + given + _accents_in_order(arguments[1])
        if (kind, name) in _CONSTANT_METHODS:
            return 1 + sum(len(one) for one in arguments[:1] if isinstance(one, str | bytes))
        if function is sorted or name == "sort":
            items = size(arguments[0]) if function is sorted else len(owner)
            return 1 + items * max(1, items.bit_length())
        if isinstance(owner, _SIZED) and name not in _BY_ARGUMENTS and name not in _FINDERS:
            return 1 + given + len(owner)
        return 1 + given

    @staticmethod
    def _after(owner: Any, name: str, arguments: tuple[Any, ...], result: Any) -> int:
        if name in _FINDERS and isinstance(owner, str | bytes | bytearray):
            start = arguments[1] if len(arguments) > 1 else 0
            end = min(arguments[2], len(owner)) if len(arguments) > 2 else len(owner)
            return int(max(0, (end if result < 0 else result) - start))
        return 0 if name in _CONSTANT or (type(owner), name) in _CONSTANT_METHODS else size(result)

    def _match(self, pattern: re.Pattern[Any], method: str, arguments: tuple[Any, ...]) -> None:
        text, *more = arguments[1:] if method in {"sub", "subn"} else arguments
        start = more[0] if more and method in {"search", "match", "fullmatch", "finditer", "findall"} else 0
        count_steps(pattern, method, text, start, self.count)


METER = Meter()


# --- rewriting


def _call(method: str, *arguments: ast.expr, **named: ast.expr) -> ast.Call:
    function = ast.Attribute(ast.Name(_NAME, ast.Load()), method, ast.Load())
    return ast.Call(function, list(arguments), [ast.keyword(name, value) for name, value in named.items()])


class Rewriter(ast.NodeTransformer):
    """Puts the meter's calls into a module. Annotations stay as they are: they are read, not run."""

    def visit_FunctionDef(self, node: Any) -> Any:
        """Count each call."""
        node.decorator_list = [self.visit(one) for one in node.decorator_list]
        node.args.defaults = [self.visit(one) for one in node.args.defaults]
        node.args.kw_defaults = [one and self.visit(one) for one in node.args.kw_defaults]
        node.body = self._counted(node.body)
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def _counted(self, body: list[Any]) -> list[Any]:
        """Rewrite a body, with a step at its beginning, behind a docstring."""
        rewritten: list[Any] = []
        for statement in body:
            new = self.visit(statement)
            rewritten += new if isinstance(new, list) else [new]
        first = rewritten[0]
        at = int(isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant))
        rewritten.insert(at, ast.Expr(_call("step")))
        return rewritten

    def _loop(self, node: Any) -> Any:
        body, node.body = node.body, []
        self.generic_visit(node)
        node.body = self._counted(body)
        return node

    visit_For = visit_AsyncFor = visit_While = _loop  # noqa: N815

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        """Leave the annotation."""
        node.value = node.value and self.visit(node.value)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        """Count what `+=` copies."""
        self.generic_visit(node)
        target = node.target
        if not isinstance(target, ast.Name | ast.Attribute):
            return node
        node.value = _call("made", node.value)
        read = ast.parse(ast.unparse(target), mode="eval").body
        return [node, ast.Expr(_call("grown", read))]

    def visit_Delete(self, node: ast.Delete) -> Any:
        """Count what `del` moves."""
        counted: list[Any] = []
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                front = isinstance(target.slice, ast.Slice) and target.slice.lower is None
                container = ast.parse(ast.unparse(target.value), mode="eval").body
                counted.append(ast.Expr(_call("deleted", container, front=ast.Constant(front))))
        self.generic_visit(node)
        return [*counted, node]

    def visit_Call(self, node: ast.Call) -> Any:
        """Call by way of the meter."""
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _FRAME_READERS:
            return node
        function = ast.Attribute(ast.Name(_NAME, ast.Load()), "call", ast.Load())
        return ast.Call(function, [node.func, *node.args], node.keywords)

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        """Count what was put together."""
        self.generic_visit(node)
        return _call("made", node)

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        """Count what a slice copies."""
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            return node
        if isinstance(node.slice, ast.Slice):
            return _call("made", node)
        return node if isinstance(node.slice, ast.Tuple) else _call("item", node.value, node.slice)

    def visit_Compare(self, node: ast.Compare) -> Any:
        """Count what `in` and `==` go over."""
        self.generic_visit(node)
        if len(node.ops) != 1:
            return node
        left, right = node.left, node.comparators[0]
        match node.ops[0]:
            case ast.In():
                return _call("contains", right, left)
            case ast.NotIn():
                return ast.UnaryOp(ast.Not(), _call("contains", right, left))
            case ast.Eq():
                return _call("equal", left, right)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Any:
        """Count what an f-string puts together."""
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                part.value = self.visit(part.value)
        return _call("made", node)

    def _comprehension(self, node: Any) -> Any:
        self.generic_visit(node)
        for generator in node.generators:
            generator.ifs = [_call("one", one) for one in generator.ifs]
        if isinstance(node, ast.DictComp):
            node.key = _call("one", node.key)
        else:
            node.elt = _call("one", node.elt)
        return node

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        """Count each call."""
        self.generic_visit(node)
        node.body = _call("one", node.body)
        return node


class _Loader(SourceFileLoader):
    """Loads a module rewritten; `edits` are texts of its source to put others in the place of."""

    edits: Mapping[str, list[tuple[str, str]]] = {}

    def get_code(self, fullname: str) -> Any:
        """Compile the module anew each time, and keep nothing."""
        source = self.get_data(self.path).decode()
        for old, new in self.edits.get(fullname, ()):
            if source.count(old) != 1:
                raise ValueError(f"{fullname}: there is no one place that reads {old!r}")
            source = source.replace(old, new)
        tree = Rewriter().visit(ast.parse(source))
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)


class _Finder(PathFinder):
    """Finds the modules that are rewritten."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return a module's place, and the loader that rewrites it."""
        if fullname not in STANDARD and fullname.partition(".")[0] not in PREFIXES:
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


def install(edits: Mapping[str, list[tuple[str, str]]]) -> None:
    """Rewrite from now on what is imported, and what of `STANDARD` was imported before. Not to be undone."""
    setattr(builtins, _NAME, METER)
    _Loader.edits = edits
    for name in STANDARD:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Finder)


def measure(work: Callable[[], object], most: int = sys.maxsize) -> int:
    """Count the work of a call. Raises TooMuchError once it is more than that."""
    METER.work, METER.most = 0, most
    try:
        work()
        return METER.work
    finally:
        METER.most = sys.maxsize
