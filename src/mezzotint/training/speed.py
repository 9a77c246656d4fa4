"""Measuring speed fairly: workloads timed in turn, operations counted, and a network's convolutions run alone."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
_HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def number_types(precision: str) -> dict[str, torch.dtype]:
    """Return the number types to measure: float32, and float16 for a machine that computes in it, else bfloat16."""
    half = precision if precision in _HALVES else "bfloat16"
    return {"float32": torch.float32, half: _HALVES[half]}


def wait(device: torch.device) -> None:
    """Wait until a device has done all it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def once(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that one call of some work takes, the device's own work included."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def interleaved(
    works: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, warmup: int = 1
) -> dict[str, list[float]]:
    """Return the seconds of each call of each work, run in turn: A B C A B C ..., after `warmup` calls of each.

    What slows the machine for a while slows all of them alike; compare medians.
    """
    for work in works.values():
        for _ in range(warmup):
            work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seconds[name].append(once(work, device))
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each work's seconds."""
    return {name: median(values) for name, values in seconds.items()}


def flops(work: Callable[[], object]) -> int:
    """Return the floating point operations of products and convolutions in a call (a multiply-add counts as two)."""
    from torch.utils.flop_counter import flop_registry  # noqa: PLC0415  (imports the compiler: a second)

    with _Counting(flop_registry) as counting:
        work()
    return counting.total


class _Counting(TorchDispatchMode):
    """Adds up what every operation takes, by torch's own formulas.

    torch's `FlopCounterMode` also tells modules apart, for which it hangs hooks into a backward pass: losses that hold
    a gradient of their own (gradient penalties) can't be counted so.
    """

    def __init__(self, formulas: Mapping[Any, Callable[..., int]]) -> None:
        super().__init__()
        self.formulas, self.total = formulas, 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        out = func(*args, **(kwargs or {}))
        formula = self.formulas.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


# --- Convolutions alone ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution as a network calls it: input [N, C, H, W], weight [O, C / groups, K, K], what is differentiated.

    A transposed one has weight [C, O / groups, K, K], and its settings are those of the convolution it turns round.
    """

    x: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    differentiates_x: bool
    transposed: bool = False
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1

    def flops(self) -> int:
        """Operations of a forward and backward pass (a multiply-add counts as two)."""
        forward = 2 * self.x[0] * math.prod(self._places()) * math.prod(self.weight)
        return forward * (3 if self.differentiates_x else 2)

    def _places(self) -> Sequence[int]:
        """Height and width of what all taps of the kernel are laid upon."""
        if self.transposed:
            return self.x[2:]
        sides = zip(self.x[2:], self.padding, self.dilation, self.weight[2:], self.stride, strict=True)
        return [(size + 2 * margin - apart * (taps - 1) - 1) // step + 1 for size, margin, apart, taps, step in sides]

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve an input and a weight of these shapes."""
        if self.transposed:
            return conv_transpose2d(x, weight, None, self.stride, self.padding, 0, self.groups, self.dilation)
        return conv2d(x, weight, None, self.stride, self.padding, self.dilation, self.groups)


_SETTINGS = {
    conv2d: ("stride", "padding", "dilation", "groups"),
    conv_transpose2d: ("stride", "padding", "output_padding", "groups", "dilation"),
}
"""What follows input, weight and bias in torch's own calls, in order."""


def _as_called(call: Callable[..., Any], x: Tensor, weight: Tensor, *rest: Any, **named: Any) -> Convolution:  # noqa: ANN401
    """Return the convolution that `call(x, weight, *rest, **named)` is."""
    told = dict(zip(("bias", *_SETTINGS[call]), rest, strict=False)) | named

    def sides(name: str, usual: int) -> tuple[int, ...]:
        side = told.get(name, usual)
        return (side, side) if isinstance(side, int) else tuple(side)

    return Convolution(
        tuple(x.shape),
        tuple(weight.shape),
        sides("stride", 1),
        sides("padding", 0),
        x.requires_grad,
        call is conv_transpose2d,
        sides("dilation", 1),
        told.get("groups", 1),
    )


class _Noting(TorchFunctionMode):
    """Notes what every convolution is given: a module may pad or enlarge its input first, so not what a module is."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Convolution] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        if func in _SETTINGS:
            self.found[_as_called(func, *args, **(kwargs or {}))] += 1
        return func(*args, **(kwargs or {}))


def convolutions(call: Callable[[], object]) -> Counter[Convolution]:
    """Return every convolution that `call` makes the modules of its network do, and how often.

    `call` must build a graph, and the network not be compiled.
    """
    with _Noting() as noting:
        call()
    return noting.found


def alone_seconds(convolution: Convolution, dtype: torch.dtype, device: torch.device, rounds: int) -> float:
    """Return the seconds of one convolution's forward and backward pass: best of `rounds`, in the better layout."""
    return min(_layout_seconds(convolution, dtype, device, layout, rounds) for layout in LAYOUTS.values())


def _layout_seconds(
    convolution: Convolution, dtype: torch.dtype, device: torch.device, layout: torch.memory_format, rounds: int
) -> float:
    def make(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, device=device, dtype=dtype).contiguous(memory_format=layout)

    x, weight = make(convolution.x).requires_grad_(convolution.differentiates_x), make(convolution.weight)
    weight.requires_grad_()
    wanted = [x, weight] if convolution.differentiates_x else [weight]
    gradient: list[Tensor] = []

    def work() -> None:
        y = convolution(x, weight)
        if not gradient:
            gradient.append(torch.randn_like(y))  # in the output's own layout
        torch.autograd.grad(y, wanted, gradient[0])

    return min(interleaved({"alone": work}, rounds, device)["alone"])


def roofline_seconds(
    found: Mapping[Convolution, int], dtype: torch.dtype, device: torch.device, rounds: int = 3
) -> float:
    """Return the seconds that all convolutions of an update need if nothing else is done, each in its better layout."""
    return sum(count * alone_seconds(convolution, dtype, device, rounds) for convolution, count in found.items())


def total_flops(found: Mapping[Convolution, int]) -> int:
    """Operations of all convolutions of an update, forward and backward."""
    return sum(count * convolution.flops() for convolution, count in found.items())
