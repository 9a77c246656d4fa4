"""CIFAR's Python batches, read without running them: pickle opcodes are followed on paper, nothing is called.

A pickle is a program that may call anything. Here only the opcodes of these files are known, and the only things they
may name are those that say "a numpy array of bytes"; all else is refused.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_MARK = object()
_ARRAY, _KIND, _CLASS = "numpy.core.multiarray _reconstruct", "numpy dtype", "numpy ndarray"


class Refused(ValueError):
    """A pickle that is no CIFAR batch."""


@dataclass
class _Object:
    """What a call would have made: of which kind, from what, and the state it was given."""

    kind: str
    arguments: tuple[Any, ...]
    state: tuple[Any, ...] = ()


def read_batch(content: bytes) -> dict[str, Any]:
    """Return a batch's dict of text, whole numbers, lists of them and uint8 arrays; `Refused` for anything else."""
    try:
        found = _Machine().run(content)
    except Refused:
        raise
    except Exception as error:  # bytes that are no pickle make pickletools raise about anything
        raise Refused(f"not a whole pickle ({error})") from None
    if not isinstance(found, dict):
        raise Refused(f"it holds {type(found).__name__}, not a dict")
    return {str(key): _array(value) if isinstance(value, _Object) else value for key, value in found.items()}


def _array(made: _Object) -> np.ndarray:
    """Turn what describes an array of bytes into one: state is version, shape, dtype, is Fortran, content."""
    if made.kind != _ARRAY or len(made.state) != 5:
        raise Refused(f"it makes {made.kind}")
    _, shape, kind, fortran, content = made.state
    if not isinstance(kind, _Object) or kind.kind != _KIND or kind.arguments[:1] != ("u1",) or fortran:
        raise Refused("its array isn't of bytes in C order")
    return np.frombuffer(content.encode("latin-1"), np.uint8).reshape(shape)


@dataclass
class _Machine:
    """The stack and the memo of the pickle machine, for the opcodes that CIFAR's files have."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, content: bytes) -> Any:  # noqa: ANN401  (whatever the pickle describes)
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                return self.stack[-1]
            if opcode.name not in _STEPS:
                raise Refused(f"it has the opcode {opcode.name}, which no CIFAR batch has")
            _STEPS[opcode.name](self, argument)
        raise Refused("it has no end")

    def since_mark(self) -> list[Any]:
        place = max(index for index, value in enumerate(self.stack) if value is _MARK)
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def push(self, value: object) -> None:
        self.stack.append(value)

    def name(self, argument: str) -> None:
        if argument not in (_ARRAY, _KIND, _CLASS):
            raise Refused(f"it names {argument.replace(' ', '.')}, which no CIFAR batch does")
        self.push(argument)

    def tuple_of(self, count: int) -> None:
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.push(values)

    def call(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if kind not in (_ARRAY, _KIND):
            raise Refused("it calls what no CIFAR batch calls")
        self.push(_Object(kind, arguments))

    def build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Object):
            raise Refused("it gives state to what takes none")
        self.stack[-1].state = state

    def set_items(self, values: list[Any]) -> None:
        self.stack[-1].update(zip(values[::2], values[1::2], strict=True))


_Step = Callable[[_Machine, Any], object]


def _pop_item(machine: _Machine, _: object) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])


def _append(machine: _Machine, _: object) -> None:
    value = machine.stack.pop()
    machine.stack[-1].append(value)


def _memorise(machine: _Machine, place: int) -> None:
    machine.memo[place] = machine.stack[-1]


def _extend(machine: _Machine, _: object) -> None:
    values = machine.since_mark()
    machine.stack[-1].extend(values)


def _dict(machine: _Machine, _: object) -> None:
    values = machine.since_mark()
    machine.push({})
    machine.set_items(values)


_CONSTANTS = ("SHORT_BINSTRING", "BINSTRING", "STRING", "BININT", "BININT1", "BININT2", "INT", "NONE")
_STEPS: dict[str, _Step] = {
    "PROTO": lambda machine, version: None,
    **dict.fromkeys(_CONSTANTS, lambda machine, value: machine.push(value)),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.push(_MARK),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "DICT": _dict,
    "LIST": lambda machine, _: machine.push(machine.since_mark()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": _append,
    "APPENDS": _extend,
    "SETITEM": _pop_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "GLOBAL": lambda machine, name: machine.name(name),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _memorise),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, place: machine.push(machine.memo[place])),
}
