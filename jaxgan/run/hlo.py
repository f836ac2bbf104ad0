"""Reads what a compiler made of a training step: its HLO, the text of an XLA program, before or after optimisation.

A program is computations of instructions that call other computations. `step_cost` adds up what those of a step cost,
each as often as a step takes it: an inner loop's by its number of rounds, those of a branch by how often it is taken.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
KINDS = ("convolution", "dot")
Cost = collections.Counter[tuple[str, str]]
"""("flops", "convolution" or "dot"): 2 for each multiplication of two numbers of which neither is padding.
("calls", collective) and ("bytes", collective): how many there are, and what comes out of them or goes into them,
whichever is more. ("cycles", "tpu"): the compiler's own estimates of the instructions that have one."""

_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")
_LAZY = re.compile(r'one_step_in_(\d+)/cond[^/"]*"')


class Instruction(NamedTuple):
    """One line of a computation: `name = shape opcode(operands), rest`."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str

    def attribute(self, pattern: str) -> str:
        """The first group of a pattern in the attributes; empty where there is none."""
        found = re.search(pattern, self.rest)
        return found[1] if found else ""


@dataclasses.dataclass
class Computation:
    """Instructions by name, and the name of the one whose result is the computation's."""

    instructions: dict[str, Instruction] = dataclasses.field(default_factory=dict)
    root: str = ""

    def needed(self) -> list[Instruction]:
        """The instructions that the result needs; before optimisation there are others."""
        found, open_ = {self.root}, [self.root]
        while open_:
            for name in self.instructions[open_.pop()].operands:
                if name in self.instructions and name not in found:
                    found.add(name)
                    open_.append(name)
        return [self.instructions[name] for name in found]


@dataclasses.dataclass(frozen=True)
class Program:
    """An XLA program.

    Attributes:
        computations: by name, their instructions by name.
        entry: name of the one that is called from outside.
    """

    computations: dict[str, Computation]
    entry: str


def read(text: str) -> Program:
    """Reads the text of a program, as `as_text` of what JAX has lowered (to "hlo") or compiled gives it."""
    computations: dict[str, Computation] = {}
    entry, current = "", Computation()
    for line in re.sub(r"/\*index=\d+\*/", "", text).splitlines():
        if found := _INSTRUCTION.match(line):
            root, name, shape, opcode, rest = found.groups()
            inside, _, attributes = rest.partition(")")
            operands = tuple(part.strip().lstrip("%") for part in inside.split(",") if part.strip())
            # What is in the brackets of a constant or a parameter stays readable: it is no operand.
            attributes = rest if opcode in ("constant", "parameter") else attributes
            current.instructions[name] = Instruction(name, shape, opcode, operands, attributes)
            current.root = name if root else current.root
        elif found := _HEAD.match(line):
            current = computations.setdefault(found[2], Computation())
            entry = found[2] if found[1] else entry
    return Program(computations, entry)


def step_cost(program: Program) -> Cost:
    """What one step costs: a round of the program's loop of steps, which has no fixed number of rounds.

    A branch that is taken in one step of N (`train_step` names it so) counts 1/N, and what is done otherwise the rest;
    of branches that depend on anything else the costlier one counts.
    """

    @functools.cache
    def cost(name: str) -> Cost:
        total, computation = Cost(), program.computations[name]
        for instruction in computation.needed():
            total.update(_own(instruction, computation.instructions))
            parts = [(weight, cost(called)) for called, weight in _called(program, instruction)]
            if instruction.opcode == "conditional" and math.isnan(parts[0][0]):
                parts = [(1.0, max((part for _, part in parts), key=_size))]
            for weight, part in parts:
                for key, value in part.items():
                    # A fusion's estimate is its own.
                    if instruction.opcode != "fusion" or key[0] != "cycles":
                        total[key] += weight * value  # pyright: ignore[reportArgumentType]
        return total

    return cost(_loop(program))


def shape_bytes(shape: str) -> float:
    """Bytes of an array, or of a tuple of arrays, as its shape is written."""
    return sum(
        math.prod(_dimensions(dimensions)) * (1 if kind == "pred" else int(re.findall(r"\d+", kind)[0]) / 8)
        for kind, dimensions in _ARRAY.findall(shape)
    )


def _loop(program: Program) -> str:
    """The body of the loop of steps: of the outermost loops without a fixed number of rounds, the longest one."""

    def loops(name: str) -> Iterator[str]:
        for instruction in program.computations[name].needed():
            if instruction.opcode == "while":
                if _rounds(program, instruction) is None:
                    yield instruction.attribute(r"body=%?([\w.\-]+)")
            else:
                for called, _ in _called(program, instruction):
                    yield from loops(called)

    return max(loops(program.entry), key=lambda name: len(program.computations[name].instructions))


def _called(program: Program, instruction: Instruction) -> list[tuple[str, float]]:
    """The computations that an instruction runs, and how often; not a number where that is not known."""
    match instruction.opcode:
        case "while":
            return [(instruction.attribute(r"body=%?([\w.\-]+)"), float(_rounds(program, instruction) or 1))]
        case "conditional":
            branches = [name.strip(" %") for name in instruction.attribute(r"branch_computations=\{(.*?)\}").split(",")]
            if branches == [""]:
                branches = [instruction.attribute(rf"{when}_computation=%?([\w.\-]+)") for when in ("false", "true")]
            every = instruction.attribute(_LAZY.pattern)
            due = 1 / int(every) if every else math.nan
            return list(zip(branches, (1 - due, due) if every else [math.nan] * len(branches), strict=True))
        case "fusion" | "call" | "async-start" | "custom-call":
            name = instruction.attribute(r"(?:calls|to_apply|called_computations)=\{?%?([\w.\-]+)")
            return [(name, 1.0)] if name else []
        case _:
            return []


def _rounds(program: Program, loop: Instruction) -> int | None:
    """How often a loop goes round: as the compiler has noted, or the one constant that its condition compares with."""
    if known := loop.attribute(r'"known_trip_count":\{"n":"(\d+)"'):
        return int(known)
    condition = program.computations[loop.attribute(r"condition=%?([\w.\-]+)")]
    constants = [i.rest.partition(")")[0] for i in condition.instructions.values() if i.opcode == "constant"]
    return int(constants[0]) if len(constants) == 1 and constants[0].isdigit() else None


def _own(instruction: Instruction, around: dict[str, Instruction]) -> Cost:
    """What an instruction costs apart from what it calls."""
    cost = Cost()
    if cycles := instruction.attribute(r'"estimated_cycles":"?(\d+)'):
        cost["cycles", "tpu"] = int(cycles)
    collective = instruction.opcode.removesuffix("-start")
    if collective in COLLECTIVES:
        into = sum(shape_bytes(around[name].shape) for name in instruction.operands)
        out = shape_bytes(instruction.shape)
        if instruction.opcode.endswith("-start"):  # As a rule its result has what goes in, too.
            out -= into
        cost["calls", collective] = 1
        cost["bytes", collective] = max(into, out)  # pyright: ignore[reportArgumentType]
    elif flops := _flops(instruction, around):
        # TPU's compiler makes convolutions of matrix products; JAX's name tells.
        name = instruction.attribute(r'op_name="([^"]*)"').rpartition("/")[2]
        kind = "dot" if instruction.opcode == "dot" or "__cublas$" in instruction.rest else "convolution"
        cost["flops", {"dot_general": "dot", "conv_general_dilated": "convolution"}.get(name, kind)] = flops
    return cost


def _flops(instruction: Instruction, around: dict[str, Instruction]) -> int:
    """FLOPs of a convolution or a matrix product, XLA's own or a library's; 0 for anything else."""
    target = instruction.attribute(r'custom_call_target="(.*?)"')
    shapes = [_first(around[name].shape) for name in instruction.operands[:2] if name in around]
    out = _first(instruction.shape)
    if instruction.opcode == "dot" or target.startswith("__cublas$"):
        contracted = instruction.attribute(r"lhs_contracting_dim(?:s|ensions)\"?[=:][\[{]([\d,\"]*)[\]}]")
        return 2 * math.prod(out) * math.prod(shapes[0][axis] for axis in _dimensions(contracted.replace('"', "")))
    if instruction.opcode == "convolution" or target.startswith("__cudnn$conv"):
        first, second = shapes
        # Of gradients, too, cuDNN's calls describe the convolution that they are gradients of.
        match target:
            case "__cudnn$convBackwardInput":
                roles = out, second, first
            case "__cudnn$convBackwardFilter":
                roles = first, out, second
            case _:
                roles = first, second, out
        return _convolution(instruction, *roles)
    return 0


def _convolution(
    instruction: Instruction, image: tuple[int, ...], kernel: tuple[int, ...], out: tuple[int, ...]
) -> int:
    of_image, of_kernel, of_out = re.split(r"_|->", instruction.attribute(r"dim_labels=([\w>\-?]+)"))
    window = dict(re.findall(r"(\w+)=([\dx_\-]+)", instruction.attribute(r"window=\{(.*?)\}")))
    pairs = 1
    for axis in range(len(of_image) - 2):
        number = str(axis)

        def at(name: str, default: str = "1", axis: int = axis) -> str:
            return window[name].split("x")[axis] if name in window else default

        pairs *= _pairs(
            image[of_image.index(number)],
            kernel[of_kernel.index(number)],
            out[of_out.index(number)],
            int(at("stride")),
            int(at("pad", "0_0").split("_")[0]),
            int(at("lhs_dilate")),
            int(at("rhs_dilate")),
        )
    features = kernel[of_kernel.index("i")] * out[of_out.index("f")]
    return 2 * pairs * features * out[of_out.index("b")]


@functools.cache
def _pairs(size: int, taps: int, outs: int, stride: int, pad: int, dilated: int, spread: int) -> int:
    """Along one axis: pairs of an output and a tap of the kernel that meet a number of the image, not padding."""
    place = np.arange(outs)[:, None] * stride + np.arange(taps) * spread - pad
    return int(np.sum((place >= 0) & (place <= (size - 1) * dilated) & (place % dilated == 0)))


def _first(shape: str) -> tuple[int, ...]:
    """Dimensions of an array, or of the first one of a tuple."""
    found = _ARRAY.search(shape)
    return _dimensions(found[2]) if found else ()


def _dimensions(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(",") if size)


def _size(cost: Cost) -> float:
    return sum(value for (kind, _), value in cost.items() if kind in ("flops", "cycles"))
