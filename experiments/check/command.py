"""``nlhf check``: judge every row of the ledger, keep each as it is done, and write what came of it."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from experiments import commands
from experiments.check.errors import UnexpectedVerdictError, unknown_claim
from experiments.check.evidence import contradictions
from experiments.check.workers import Lanes
from experiments.output import records, result_folder, text
from experiments.output.progress import Progress
from experiments.output.provenance import provenance
from nlhf.errors import InputError, unknown

if TYPE_CHECKING:
    from experiments.check.store import Store
    from proofs_checks.ledger import Entry
    from proofs_checks.rows import Check, Effort

RESULTS = pathlib.Path("results")
LEDGER, PAGE = "ledger.json", "LEDGER.md"
HOME = "proofs_checks"  # the folder whose full ledger the page of algorithms shows
LARGEST_SEED = 2**32 - 1
# what JAX reports of its time before a program runs
COMPILING = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
HEADER, ALIGN = ("", "verdict", "instances", "worst", "control", "seconds"), "<<>>>>"


def main(command: commands.Check) -> None:
    """Run the command: judge, keep, print, write.

    Raises:
      InputError: if an option breaks a rule.
      UnexpectedVerdictError: if a row is not as expected; after everything has been written.
    """
    _check_options(command)
    if command.game is not None or _is_own(command.algorithm):
        from experiments.check import own

        own.main(command)
        return
    folder = _folder(command)
    with contextlib.ExitStack() as stack:
        # before the imports: a folder in use is reported at once
        run = None if folder is None else stack.enter_context(result_folder.claim(folder))
        import jax

        jax.config.update("jax_enable_x64", True)
        from proofs_checks import ledger as ledgers
        from proofs_checks.rows import Effort

        effort = Effort(command.seed, not command.full)
        checks = select(ledgers.collect(), command.algorithm, command.claim)
        whole = command.algorithm is None and command.claim is None
        if folder is not None:
            _check_replaceable(folder, effort, whole)
        entries = ledgers.entries(checks, effort)
        origin = _provenance()
        values = _judge(entries, effort, _store(folder, effort), quiet=command.json)
        ledger = ledgers.assemble(effort, origin, values, part=not whole)
        if command.json:
            print(json.dumps(ledger, allow_nan=False))
        if run is not None:
            _stage(run, ledger)
    if folder is not None:
        print(f"nlhf: wrote {LEDGER} and {PAGE} to {folder}", file=sys.stderr)
    wrong = ledgers.unexpected(ledger["rows"])
    if wrong:
        named = ", ".join(f"{row['name']} ({row['verdict']})" for row in wrong)
        raise UnexpectedVerdictError(f"{len(wrong)} of {len(ledger['rows'])} rows not as expected: {named}")
    against = contradictions(ledger)
    if against:
        raise UnexpectedVerdictError("; ".join(against))
    if folder is not None and whole and command.full and folder.resolve().name == HOME:
        _refresh_page(folder, ledger)


def _is_own(algorithm: str | None) -> bool:
    """Whether ``--algorithm`` is a function of the user's or an entry point, no subject of the ledger."""
    from nlhf.method import GROUP

    if algorithm is None:
        return False
    return ":" in algorithm or algorithm in importlib.metadata.entry_points(group=GROUP).names


def select(checks: tuple[Check, ...], algorithm: str | None, claim: str | None) -> tuple[Check, ...]:
    """Return the checks that two filters leave.

    Args:
      checks: all.
      algorithm: a subject, ``None`` for all.
      claim: a name, ``None`` for all.

    Raises:
      InputError: if there is no such subject or name (with the near matches), or no row has both.
    """
    subjects = tuple(dict.fromkeys(check.subject for check in checks))
    if algorithm is not None and algorithm.replace("-", "_") not in subjects:
        raise InputError(unknown(algorithm, subjects, "algorithm"))
    algorithm = None if algorithm is None else algorithm.replace("-", "_")
    if claim is None:
        return tuple(check for check in checks if algorithm in (None, check.subject))
    found = tuple(check for check in checks if check.name == claim)
    if not found:
        raise InputError(unknown_claim(claim, [check.name for check in checks]))
    if algorithm not in (None, found[0].subject):
        raise InputError(f"{claim} is about {found[0].subject}, not about {algorithm}; leave out --algorithm")
    return found


def dumps(ledger: Mapping[str, Any]) -> str:
    """Write a ledger as JSON, a line for each row, so that two of them can be compared by lines."""
    parts = []
    for key, value in ledger.items():
        if isinstance(value, list):
            lines = [_line(entry) for entry in value]
            parts.append(f"{json.dumps(key)}: [\n" + ",\n".join(lines) + "\n]")
        elif isinstance(value, dict) and value and all(isinstance(entry, dict) for entry in value.values()):
            lines = [f"{json.dumps(name)}: {_line(entry)}" for name, entry in value.items()]
            parts.append(f"{json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n}")
        else:
            parts.append(f"{json.dumps(key)}: {_line(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _check_options(command: commands.Check) -> None:
    if command.quick and command.full:
        raise InputError("--quick and --full are both given, but a run has one size; leave one out")
    if not 0 <= command.seed <= LARGEST_SEED:
        raise InputError(
            f"--seed is {command.seed}, but a seed is in [0, {LARGEST_SEED}]; give another --seed"
        )
    if command.game is not None:
        return
    own = _is_own(command.algorithm)
    for option, value, default in (
        ("--beta", command.beta, None),
        ("--step-size", None if own else command.step_size, None),
        ("--reference", command.reference, "uniform"),
        ("--prior", command.prior, 0.5),
    ):
        if value != default:
            raise InputError(
                f"{option} is {value}, but without --game there is no game for it; give --game FILE"
            )


def _folder(command: commands.Check) -> pathlib.Path | None:
    if command.out is not None:
        if not command.out.parts:
            raise InputError("--out is empty, but it must name a folder; give one, or . for this one")
        return command.out
    if command.algorithm is not None or command.claim is not None:
        return None
    return RESULTS / ("check" if command.full else "check-quick")


def _check_replaceable(folder: pathlib.Path, effort: Effort, whole: bool) -> None:
    """Refuse to lose more than is won: a part does not replace a whole ledger, nor quick a full one."""
    from proofs_checks.ledger import FORMAT

    path = folder / LEDGER
    for file in (path, folder / PAGE):
        if file.is_dir():
            raise InputError(
                f"{file}: is a folder, but this run writes a file of that name; choose another --out"
            )
    if not path.exists():
        if (folder / PAGE).exists():
            raise InputError(
                f"{folder / PAGE}: already exists without a {LEDGER}, so nlhf did not write it; choose "
                "another --out"
            )
        return
    try:
        found = records.loads(path.read_text(encoding="utf-8"), str(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove it, or choose another --out") from None
    if found.get("format") != FORMAT or not isinstance(found.get("rows"), list):
        raise InputError(f"{path}: is not a ledger of ours; choose another --out")
    if effort.quick and found.get("effort") == "full":
        raise InputError(f"{path}: is a full ledger, and this is a quick run; give --full or another --out")
    if not whole and not found.get("part", False):
        raise InputError(f"{path}: is a whole ledger, and this run is a part; choose another --out")


def _store(folder: pathlib.Path | None, effort: Effort) -> Store:
    from experiments.check.store import Store, fingerprint

    key = {} if folder is None else {"fingerprint": fingerprint(), **effort._asdict()}
    return Store(folder, key)


def _provenance() -> dict[str, Any]:
    found = provenance()
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found["versions"]["python-flint"] = importlib.metadata.version("python-flint")
    return found


def _judge(
    entries: tuple[Entry, ...], effort: Effort, store: Store, quiet: bool
) -> dict[tuple[str, str], dict[str, Any]]:
    """Judge what is not in the store, saving each entry at once; print a line for each."""
    begin, kept = time.perf_counter(), 0
    wide = max(len(_title(entry)) for entry in entries)
    values: dict[tuple[str, str], dict[str, Any]] = {}
    progress = Progress()
    if not quiet:
        _print_lines(text.table([HEADER[0].ljust(wide), *_pad(HEADER[1:])], [], ALIGN))

    def keep(entry: Entry, value: dict[str, Any]) -> None:
        values[entry.section, entry.name] = value
        if not quiet:
            line = [_title(entry).ljust(wide), *_pad(_cells(entry.section, value))]
            _print_lines(text.table(line, [], ALIGN).splitlines()[0])

    def measure(entry: Entry) -> dict[str, Any]:
        value = _measure(entry, effort)
        store.put(entry, value)  # in the lane that judged it: at once
        return value

    with compiling() as seconds, contextlib.closing(progress):
        for entry in entries:
            value = store.get(entry)
            if value is not None:
                kept += 1
                progress(f"{_title(entry)}, as judged before", len(entries))
                keep(entry, value)
        left = [entry for entry in entries if (entry.section, entry.name) not in values]
        lanes = Lanes(left, measure)
        try:
            for entry, value in lanes.results(lambda entry: progress(_title(entry), len(entries))):
                keep(entry, value)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            lanes.abandon(130 if isinstance(error, KeyboardInterrupt) else 141)
            raise
        finally:
            lanes.finish()
    # in the order of the list, whatever the lanes' order was
    values = {(entry.section, entry.name): values[entry.section, entry.name] for entry in entries}
    if not quiet:
        elapsed = time.perf_counter() - begin
        print(_summary(values, elapsed, seconds(), kept))
    return values


def _measure(entry: Entry, effort: Effort) -> dict[str, Any]:
    try:
        value = records.encode(entry.measure(effort))
    except ArithmeticError as error:
        raise ArithmeticError(f"{entry.name}: {error}") from error
    value["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return value


@contextlib.contextmanager
def compiling() -> Iterator[Any]:
    """Count the seconds that JAX spends compiling; yields a function that returns them."""
    import jax

    spent = [0.0]

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event in COMPILING:
            spent[0] += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield lambda: spent[0]
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def _title(entry: Entry) -> str:
    return entry.name if entry.section == "rows" else f"{entry.section}: {entry.name}"


def _cells(section: str, value: Mapping[str, Any]) -> list[str]:
    from proofs_checks.report import number, verdict
    from proofs_checks.rows import UNCHECKED

    if section == "tightness":
        return ["", str(value["searches"]), number(value["best"]), "", ""]
    if section == "certificates":
        decided = value["proved"] + value["refuted"] + value["undecided"]
        return [f"{value['proved']} proved", str(decided), number(value["worst"]), "", ""]
    if section == "breaking":
        violated = sum(point["violated_from"] is not None for point in value["points"])
        return [f"{violated} broken", str(len(value["points"])), "", "", ""]
    if value["verdict"] == UNCHECKED:
        return ["unchecked", "", "", "", ""]
    shown = verdict(value) if value["as_expected"] else "UNEXPECTED"
    figures = [number(value["worst"]), number(value["control_worst"]), f"{value['seconds']:.1f}"]
    return [shown, str(value["instances"]), *figures]


def _pad(cells: tuple[str, ...] | list[str]) -> list[str]:
    """Give every line the same columns: a row is printed before the next is known."""
    widths = (10, 9, 10, 10, 7)
    return [
        cell.ljust(size) if align == "<" else cell.rjust(size)
        for cell, size, align in zip(cells, widths, ALIGN[1:], strict=True)
    ]


def _print_lines(lines: str) -> None:
    if sys.stdout is None:
        return  # closed before we started
    # past the bar, where there is one; at once, for those who follow a log
    tqdm.write(lines)
    sys.stdout.flush()


def _summary(
    values: Mapping[tuple[str, str], Mapping[str, Any]], elapsed: float, spent: float, kept: int
) -> str:
    from proofs_checks.ledger import unexpected
    from proofs_checks.rows import FAILS, HOLDS, UNCHECKED

    rows = [value for (section, _), value in values.items() if section == "rows"]
    good = [row for row in rows if row["as_expected"]]
    counts = {
        "hold": sum(row["verdict"] == HOLDS for row in good),
        "refuted as known": sum(row["verdict"] == FAILS for row in good),
        "not numerically checkable": sum(row["verdict"] == UNCHECKED for row in good),
        "NOT AS EXPECTED": len(unexpected(rows)),
    }
    one = len(rows) == 1
    verdicts = [f"{count} {word}" for word, count in counts.items() if count]
    summary = verdicts[0][2:].replace("hold", "holds") if one else ", ".join(verdicts)
    again = f"; {kept} of {len(values)} entries were judged before" if kept else ""
    many = "row" if one else "rows"
    return f"{len(rows)} {many}: {summary}; {elapsed:.1f} s, {spent:.1f} s of them compiling{again}"


def _stage(run: result_folder.Run, ledger: Mapping[str, Any]) -> None:
    from proofs_checks.report import render

    run.add(LEDGER, dumps(ledger))
    run.add(PAGE, render(ledger))


def _refresh_page(folder: pathlib.Path, ledger: Mapping[str, Any]) -> None:
    from experiments.check.algorithms_page import refresh

    path = folder.resolve().parent / "experiments" / "docs" / "algorithms.md"
    if refresh(path, ledger):
        print(f"nlhf: the tables in {path} are up to date", file=sys.stderr)
