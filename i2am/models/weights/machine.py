"""A pickle read as data: nothing that it names is imported, called or run."""

from __future__ import annotations

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from .inert import MADE, REBUILT, STORAGES, Inert, OddFileError, Stored, pairs, whole

MAX_STEPS = 4_000_000
"""Steps of one pickle; a checkpoint of 5,000 tensors has 200,000."""
MAX_NAME = 200
MAX_LINE = 1 << 16
MAX_INT = 1 << 1024


@dataclass
class Reading:
    """A pickle's value.

    Attributes:
        value: dicts, lists, tuples, text and numbers; `Described` for tensors, `Stored` for storages, `Inert` for the rest.
            Sets are lists.
        names: all that unpickling would import, without repeats, in the order of the file.
        stored: all storages by key.
        end: how many bytes it took.
    """

    value: Any = None
    names: list[str] = field(default_factory=list)
    stored: dict[str, Stored] = field(default_factory=dict)
    end: int = 0


def read_pickle(content: bytes) -> Reading:
    """Read the first pickle of ``content``, of any protocol, in time and memory bounded by its length.

    Raises:
        OddFileError: it is larger than a checkpoint's, or made to be read in two ways.
        ValueError, LookupError, TypeError: it is damaged.
    """
    return _Machine().run(content)


def _two_lines(content: bytes, start: int) -> tuple[str, str]:
    middle = content.index(b"\n", start)
    end = content.index(b"\n", middle + 1)
    return content[start:middle].decode("utf-8"), content[middle + 1 : end].decode("utf-8")


class _Lines(BytesIO):
    """Bytes whose lines have a bound."""

    def readline(self, _size: int | None = -1, /) -> bytes:
        return super().readline(MAX_LINE)


class _Machine:
    """Pickle's stack machine, of which only containers, numbers and text do what they do in Python."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.named: dict[str, Inert] = {}
        self.copied = 0

    def run(self, content: bytes) -> Reading:
        framed = 0
        arg: Any
        place: Any
        for step, (opcode, arg, place) in enumerate(pickletools.genops(_Lines(content))):
            if step + self.copied >= MAX_STEPS:
                raise OddFileError(f"its pickle has more than {MAX_STEPS:,} steps, which no state dict takes")
            name = opcode.name
            if name in ("GLOBAL", "INST"):  # pickletools would change what pickle takes as it is
                arg = _two_lines(content, place + 1)
            if name == "FRAME":
                framed = max(framed, place + 9 + arg)
            elif name == "STOP":
                self.reading.value, self.reading.end = self._pop(), place + 1
            elif name in VALUES:
                if type(arg) is int and not -MAX_INT < arg < MAX_INT:
                    raise OddFileError("it holds a whole number of more than 300 digits")
                self.stack.append(arg)
            elif name in STEPS:
                STEPS[name](self, arg)
            else:
                raise ValueError(f"{name} has no place in a file of torch.save")
        if framed > self.reading.end:
            raise OddFileError("a frame in it reaches past the end of its pickle")
        return self.reading

    # the stack

    def _pop(self) -> Any:
        return self.stack.pop()

    def marked(self) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def mark(self, _: Any) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.marked()

    def pop_mark(self, _: Any) -> None:
        self.marked()

    def dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def put(self, arg: Any) -> None:
        if not 0 <= int(arg) < MAX_STEPS:
            raise ValueError(f"no place {arg} to remember a value at")
        self.memo[int(arg)] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, arg: Any) -> None:
        self.stack.append(self.memo[int(arg)])

    # containers

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) != count:
            raise IndexError("too few values for a tuple")
        self.stack[-count:] = [items]

    def append(self, _: Any) -> None:
        self._extend([self._pop()])

    def appends(self, _: Any) -> None:
        self._extend(self.marked())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.parts += items
        elif isinstance(target, list):
            target += items
        else:
            raise TypeError(f"nothing can be appended to a {type(target).__name__}")

    def set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._update([key, value])

    def set_items(self, _: Any) -> None:
        self._update(self.marked())

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.parts += items
        elif isinstance(target, dict):
            target.update(pairs(items))
        else:
            raise TypeError(f"no items can be set in a {type(target).__name__}")

    # names, and what they would do

    def _named(self, name: str) -> Inert:
        if len(name) > MAX_NAME:
            raise OddFileError(f"it names something by {len(name):,} characters")
        if name not in self.named:
            self.named[name] = Inert(name)
            self.reading.names.append(name)
        return self.named[name]

    def _global(self, module: str, name: str) -> Inert:
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        return self._named(f"{module}.{name}")

    def global_name(self, arg: Any) -> None:
        self.stack.append(self._global(*arg))

    def stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise OddFileError("it has a name that is only made while unpickling")
        self.stack.append(self._global(module, name))

    def extension(self, arg: Any) -> None:
        raise OddFileError(f"it has extension {arg} of copyreg for a name")

    def inst(self, arg: Any) -> None:
        args = tuple(self.marked())
        self.stack.append(self._made(self._global(*arg), args))

    def obj(self, _: Any) -> None:
        what, *args = self.marked()
        self.stack.append(self._made(what, tuple(args)))

    def new_obj_ex(self, _: Any) -> None:
        kwargs, args, what = self._pop(), self._pop(), self._pop()
        self.stack.append(Inert(what.name, args, kwargs))

    def reduce(self, _: Any) -> None:
        args, what = self._pop(), self._pop()
        self.stack.append(self._made(what, args))

    def _made(self, what: Any, args: Any) -> Any:
        if not isinstance(what, Inert) or not isinstance(args, tuple):
            raise TypeError(f"a {type(what).__name__} cannot be called with a {type(args).__name__}")
        if what is self.named.get(what.name) and what.name in MADE:  # what an unknown call gave stays unknown
            self.copied += sum(len(given) for given in args if isinstance(given, (dict, list)))
            return MADE[what.name](*args)
        return Inert(what.name, args, is_tensor=what.name.startswith(REBUILT))

    def build(self, _: Any) -> None:
        state, target = self._pop(), self.stack[-1]
        if isinstance(target, Inert):
            target.parts.append(state)
        elif not isinstance(target, dict):  # a dict's own attributes, such as a state dict's versions, are not needed
            raise TypeError(f"a {type(target).__name__} takes no state")

    def persistent(self, _: Any) -> None:
        told = self._pop()
        kind = told[0] if isinstance(told, tuple) and told else told
        kind = kind.decode("ascii") if isinstance(kind, bytes) else kind
        if kind == "module" and len(told) == 4 and isinstance(told[1], Inert):  # torch before 1.0
            self.stack.append(told[1])
        elif kind == "storage" and len(told) in (5, 6) and isinstance(told[1], Inert):
            self.stack.append(self._stored(*told[1:]))
        else:
            raise OddFileError("it refers to something other than its own numbers")

    def _stored(self, what: Inert, key: Any, _device: Any, count: Any, view: Any = None) -> Stored | Inert:
        if what.name not in STORAGES:
            return Inert(what.name, key)
        if not isinstance(key, str):
            raise TypeError(f"the key of a storage is a {type(key).__name__}")
        found = Stored(key, STORAGES[what.name], whole(count))
        known = self.reading.stored.setdefault(key, found)
        if found.nbytes > known.nbytes:
            self.reading.stored[key] = found
        if view is None:
            return found
        _, skipped, _ = view
        return Stored(key, found.dtype, found.count, whole(skipped))


VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
"""Opcodes whose argument is the value."""


def _pushing(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(make())


def _closing(make: Callable[[list[Any]], Any]) -> Callable[[_Machine, Any], None]:
    def close(machine: _Machine, _: Any) -> None:
        made = make(machine.marked())  # before the stack is looked up, since this changes which one it is
        machine.stack.append(made)

    return close


STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "READONLY_BUFFER"), lambda *_: None),
    "NONE": _pushing(lambda: None),
    "NEWTRUE": _pushing(lambda: True),
    "NEWFALSE": _pushing(lambda: False),
    "EMPTY_TUPLE": _pushing(tuple),
    "EMPTY_LIST": _pushing(list),
    "EMPTY_DICT": _pushing(dict),
    "EMPTY_SET": _pushing(list),
    "TUPLE": _closing(tuple),
    "LIST": _closing(list),
    "FROZENSET": _closing(list),
    "DICT": _closing(pairs),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.dup,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "MEMOIZE": _Machine.memoize,
    "APPEND": _Machine.append,
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _Machine.appends),
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.global_name,
    "STACK_GLOBAL": _Machine.stack_global,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _Machine.extension),
    "INST": _Machine.inst,
    "OBJ": _Machine.obj,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.new_obj_ex,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
