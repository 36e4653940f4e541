"""What a compiled program says of itself: cycles, collectives, calls to the host."""

import re
from collections import Counter
from typing import NamedTuple

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
BITS = {"pred": 8, "bf16": 16, "f16": 16}  # others carry them in their names
UNPRICED = 2**62  # what the compiler writes where it has no estimate

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{\s*$")
_CYCLES = re.compile(r'"estimated_cycles":"?(\d+)"?')
_BODY = re.compile(r" while\(.*body=%?([\w.\-]+)")
_CALLS = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
_RESULT = re.compile(r"= (.*?) [\w\-]+\(")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"?(\d+)"?\}')
_CONDITION = re.compile(r" while\(.*condition=%?([\w.\-]+)")
_BOUND = re.compile(r"= s32\[\]\S* constant\((\d+)\)")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?(%[\w.\-]+) = (.*?) ([\w\-]+)\((.*?)\)")
_NO_TRAFFIC = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while"}
_VECTOR_MEMORY = re.compile(r"\b\w+\[[\d,]*\]\{[^}]*S\(1\)[^}]*\}")  # not HBM
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(COLLECTIVES)})(-start)?\(")
_SHAPE = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")
_CHANNEL = re.compile(r"\bchannel_id=\d+")
_OP_NAME = re.compile(r'op_name="([^"]*)"')


class Collective(NamedTuple):
    """One exchange between devices."""

    kind: str
    size: int  # bytes of its result on one device
    times: int  # it runs for each run of the program
    line: str


class Program(NamedTuple):
    """A compiled program's text, taken apart; loops count as often as they run."""

    cycles: int  # the sum of what the compiler expects of each fusion; 0 where it does not say
    collectives: list[Collective]
    by_source: Counter[str]  # cycles by the operation in the model that they come from
    host_calls: int
    repeated: int = 0  # bytes of HBM that loops move after their first round


def read(text: str) -> Program:
    """The program of an optimised HLO text."""
    blocks = _blocks(text)
    host_calls = len(re.findall(r'custom_call_target="[^"]*callback', text))
    program = Program(0, [], Counter(), host_calls)
    entry = next((name for name, (first, _) in blocks.items() if first), None)
    if entry is not None:
        program = _add(blocks, entry, 1, program)
    return program._replace(collectives=_once(program.collectives))


def _once(collectives: list[Collective]) -> list[Collective]:
    """Without the pieces that a TPU's program cuts a collective into, to compute meanwhile.

    They lie in several fusions under one channel, each with the shape of the whole.
    """
    kept: dict[tuple[str, str], Collective] = {}
    for i, one in enumerate(collectives):
        channel = _CHANNEL.search(one.line)
        kept.setdefault((one.kind, channel[0] if channel else str(i)), one)
    return list(kept.values())


def _blocks(text: str) -> dict[str, tuple[bool, list[str]]]:
    """Computations by name: whether it is the entry, and its lines."""
    blocks: dict[str, tuple[bool, list[str]]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        start = _COMPUTATION.match(line)
        if start and " = " not in line:
            lines = []
            blocks[start[2]] = (bool(start[1]), lines)
        else:
            lines.append(line)
    return blocks


def _add(
    blocks: dict[str, tuple[bool, list[str]]],
    name: str,
    times: int,
    total: Program,
    inside: bool = False,
) -> Program:
    """`total` with a computation that runs so many times, and with those that it calls.

    `inside` a fusion no cycles are added: they were counted where it is called.
    """
    for line in blocks[name][1]:
        cycles = _CYCLES.search(line)
        if cycles and int(cycles[1]) < UNPRICED and not inside:
            source = _OP_NAME.search(line)
            total.by_source[source[1] if source else "?"] += times * int(cycles[1])
            total = total._replace(cycles=total.cycles + times * int(cycles[1]))
        if collective := _COLLECTIVE.search(line):
            total.collectives.append(_collective(collective, times, line))
            continue
        if body := _BODY.search(line):
            times_in = times * _trips(blocks, line)
            total = total._replace(
                repeated=total.repeated + (times_in - 1) * _traffic(blocks[body[1]][1])
            )
            total = _add(blocks, body[1], times_in, total, inside)
        elif (called := _CALLS.search(line)) and called[1] in blocks:
            result = _RESULT.search(line)
            if called[1].startswith("all-reduce-scatter") and result:  # as TPUs fuse it
                size = _size(result[1])
                total.collectives.append(Collective("reduce-scatter", size, times, line.strip()))
            else:
                total = _add(blocks, called[1], times, total, True)
    return total


def _trips(blocks: dict[str, tuple[bool, list[str]]], line: str) -> int:
    """How often a loop runs: as noted, or as its condition counts; 1 where neither says."""
    if noted := _TRIPS.search(line):
        return int(noted[1])
    condition = _CONDITION.search(line)
    text = "\n".join(blocks[condition[1]][1]) if condition and condition[1] in blocks else ""
    bounds = set(_BOUND.findall(text))
    return int(bounds.pop()) if len(bounds) == 1 and "direction=LT" in text else 1


def _traffic(lines: list[str]) -> int:
    """Bytes that a computation's instructions read and write in HBM."""
    shapes: dict[str, str] = {}
    total = 0
    for line in lines:
        if not (instruction := _INSTRUCTION.match(line)):
            continue
        name, result, kind, operands = instruction.groups()
        shapes[name] = _VECTOR_MEMORY.sub("", result)
        if kind not in _NO_TRAFFIC:
            read = (shapes.get(one, "") for one in re.findall(r"%[\w.\-]+", operands))
            total += _size(shapes[name]) + sum(map(_size, read))
    return total


def _collective(match: re.Match[str], times: int, line: str) -> Collective:
    shapes, kind, start = match[1], match[2], match[3]
    if start and kind in ("all-gather", "collective-permute"):
        # An asynchronous start gives its operands, then its results, at times two counters.
        arrays = [_bytes(*shape) for shape in _SHAPE.findall(shapes) if shape[1]]
        return Collective(kind, sum(arrays[len(arrays) // 2 :]), times, line.strip())
    return Collective(kind, _size(shapes), times, line.strip())


def _size(shapes: str) -> int:
    return sum(_bytes(*shape) for shape in _SHAPE.findall(shapes))


def _bytes(dtype: str, dims: str) -> int:
    digits = re.search(r"\d+", dtype)
    bits = BITS.get(dtype) or (int(digits[0]) if digits else 0)
    count = 1
    for length in dims.split(","):
        count *= int(length) if length else 1
    return count * bits // 8
