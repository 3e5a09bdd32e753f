"""The records of ``nlhf bench transformer`` and the text that they are printed as."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from experiments.output import text

# times the peer in float32, and the best peer of those that were run
TARGETS: dict[str, tuple[float | None, float | None]] = {
    "sampler": (5.0, 2.5),
    "nash_md": (None, 5.0),
    "xpo": (None, 3.5),
    "online_dpo": (None, 3.5),
    "dpo": (4.0, 2.5),
}
WARM, FLAX = 8.0, 0.05
SHORT = {"float32": "f32", "bfloat16": "bf16", "autocast": "autocast"}
QUIET = 0.05  # share of the cores that other programs may take in a measurement to be believed


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Attributes:
      quick: a smaller run of the same code.
      models: names of shapes.
      threads: cores of a process, one row each.
      cases: what is timed.
      our_dtypes: of the computation, ours.
      peer_dtypes: of the peers' weights; ``autocast`` has float32 weights.
      batch: prompts.
      prompt: tokens of one.
      response: tokens of a completion.
      repeats: turns that count.
      floor_seconds: for each measurement of the machine.
    """

    quick: bool = False
    models: tuple[str, ...] = ("15M", "48M")
    threads: tuple[int, ...] = (1, 2)
    cases: tuple[str, ...] = ("sampler", "nash_md", "xpo", "online_dpo", "dpo")
    our_dtypes: tuple[str, ...] = ("float32", "bfloat16")
    peer_dtypes: tuple[str, ...] = ("float32", "bfloat16")
    batch: int = 8
    prompt: int = 64
    response: int = 64
    repeats: int = 5
    floor_seconds: float = 1.0


class Side(NamedTuple):
    """One side of a row.

    Attributes:
      name: ``ours`` or ``peers``.
      dtype: of the run.
      seconds: of the fastest repetition.
      median: of the repetitions.
      peak: bytes of memory of the whole process at most.
    """

    name: str
    dtype: str
    seconds: float
    median: float
    peak: int | None


class Row(NamedTuple):
    """One case of one model.

    Attributes:
      model: name.
      threads: of each side.
      case: what was timed.
      sides: ours first.
      floor: seconds that the machine needs at least.
      recompiled: programs that we compiled after the first repetition.
      agree: share of prompts on which both sides' four likeliest tokens are the same; ``None`` if not asked.
      busy: share of the cores that other programs took meanwhile.
    """

    model: str
    threads: int
    case: str
    sides: list[Side]
    floor: float
    recompiled: int
    agree: float | None
    busy: float | None

    @property
    def ours(self) -> Side:
        """Our fastest."""
        side = self.side("ours")
        assert side is not None
        return side

    def side(self, name: str, dtype: str | None = None) -> Side | None:
        """Return a side of a dtype, or the fastest of that name."""
        sides = [side for side in self.sides if side.name == name and dtype in (None, side.dtype)]
        return min(sides, key=lambda side: side.seconds, default=None)

    def ratio(self, dtype: str | None = None) -> float | None:
        """Times of the peer of a dtype, or of the fastest one, over our fastest."""
        peer = self.side("peers", dtype)
        return None if peer is None else peer.seconds / self.ours.seconds

    def alike(self, dtype: str) -> float | None:
        """Times of a peer over ours in the same dtype."""
        peer, own = self.side("peers", dtype), self.side("ours", dtype)
        return None if peer is None or own is None else peer.seconds / own.seconds


class Limits(NamedTuple):
    """What the machine can do at best.

    Attributes:
      threads: of one process.
      flops: a second, of square products in float32.
      bandwidth: bytes a second read from memory.
    """

    threads: int
    flops: float
    bandwidth: float


class Start(NamedTuple):
    """Seconds from the start of a process to the end of its first Nash-MD step.

    Attributes:
      model: name.
      cold: everything compiled.
      warm: everything read from the compilation cache.
    """

    model: str
    cold: float
    warm: float


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
      config: the settings as run.
      cores: of the machine.
      versions: of the peers; empty where none ran.
      limits: what the machine can do, by threads.
      rows: case by case.
      starts: model by model.
      flax: core seconds of a training step with flax and without, and the difference of their losses.
    """

    config: Config
    cores: int
    versions: dict[str, str]
    limits: list[Limits]
    rows: list[Row]
    starts: list[Start]
    flax: dict[str, float]


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} x"


def _mib(side: Side | None) -> str:
    return "-" if side is None or side.peak is None else f"{side.peak / 2**20:.0f}"


def _share(floor: float, side: Side | None) -> str:
    return "-" if side is None else f"{floor / side.seconds:.0%}"


def _milliseconds(side: Side | None) -> str:
    return "-" if side is None else f"{1e3 * side.seconds:.0f}"


def report(result: Result) -> str:
    """Lay out the result as text: times, memory, and how they stand against the targets."""
    config = result.config
    sides = [("ours", dtype) for dtype in config.our_dtypes]
    sides += [("peers", dtype) for dtype in config.peer_dtypes]
    names = [f"{name} {SHORT[dtype]}" for name, dtype in sides]
    both = [dtype for dtype in config.peer_dtypes if dtype in config.our_dtypes]
    first = ["model", "threads", "case"]
    times = [
        [row.model, str(row.threads), row.case, *(_milliseconds(row.side(*each)) for each in sides)]
        for row in result.rows
    ]
    header = [*first, *(f"{SHORT[dtype]} / {SHORT[dtype]}" for dtype in both), "best / best"]
    header += ["tokens/s", "floor", "agree", "busy"]
    rows = [
        [
            row.model,
            str(row.threads),
            row.case,
            *(_times(row.alike(dtype)) for dtype in both),
            _times(row.ratio()),
            f"{_tokens(config, row.case) / row.ours.seconds:.0f}",
            _share(row.floor, row.side("ours", "float32")),
            "-" if row.agree is None else f"{row.agree:.0%}",
            "?" if row.busy is None else f"{row.busy:.0%}",
        ]
        for row in result.rows
    ]
    memory = [
        [row.model, str(row.threads), row.case, *(_mib(row.side(*each)) for each in sides)]
        for row in result.rows
    ]
    limits = "; ".join(
        f"threads {each.threads}: {each.flops / 1e9:.0f} Gflop/s, {each.bandwidth / 1e9:.1f} GB/s"
        for each in result.limits
    )
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    peers = f"peers: {versions}" if versions else "no peers: name a Python with torch and trl in NLHF_PEERS"
    parts = [
        f"Machine: {result.cores} cores; {limits} (float32)\n{peers}",
        f"Milliseconds of the fastest of {config.repeats} turns; batch {config.batch}, "
        f"prompt {config.prompt}, completion {config.response}, 2 completions a prompt in a step\n\n"
        + text.table([*first, *names], times, "<><" + ">" * len(names)),
        "Times of a peer over ours; tokens/s of our fastest; the floor over ours in float32\n\n"
        + text.table(header, rows, "<><" + ">" * (len(header) - 3)),
        "Memory of the process at most, MiB\n\n"
        + text.table([*first, *names], memory, "<><" + ">" * len(names)),
        "Targets\n\n" + text.table(["what", "measured", "target", ""], _targets(result), "<>><"),
    ]
    return "\n\n".join(parts)


def _tokens(config: Config, case: str) -> int:
    return config.batch * config.response * (1 if case == "sampler" else 2)


def _targets(result: Result) -> list[list[str]]:
    found: list[tuple[str, str, str, bool, bool]] = []
    for row in result.rows:
        believed = row.busy is None or row.busy <= QUIET
        place = f"{row.case}, {row.model}, threads {row.threads}"
        for dtype, target in zip(("float32", None), TARGETS[row.case], strict=True):
            ratio = row.ratio(dtype)
            if target is not None and ratio is not None:
                what = f"{place}: {'best' if dtype is None else dtype} peer / our best"
                found.append((what, f"{ratio:.2f} x", f"{target:g} x", ratio >= target, believed))
        heavy, own = row.side("peers", "float32"), row.side("ours", "float32")
        if heavy is not None and heavy.peak and own is not None and own.peak:
            share = own.peak / heavy.peak
            found.append((f"{place}: memory, float32 both", f"{share:.2f} x", "1 x", share <= 1, True))
    again = sum(row.recompiled for row in result.rows)
    found.append(("programs compiled after the first call", str(again), "0", again == 0, True))
    for start in result.starts:
        what = f"warm start, {start.model} (cold {start.cold:.1f} s)"
        found.append((what, f"{start.warm:.1f} s", f"{WARM:g} s", start.warm < WARM, True))
    cost = result.flax["flax"] / result.flax["plain"] - 1
    found.append(("cost of flax in a step", f"{cost:.1%}", f"{FLAX:.0%}", cost <= FLAX, True))
    return [[what, value, target, _verdict(met, sure)] for what, value, target, met, sure in found]


def _verdict(met: Any, believed: bool) -> str:
    if not met:
        return "missed"
    return "met" if believed else "met, but on a busy machine: measure again"
