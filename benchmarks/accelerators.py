"""What the compilers of accelerators say of the large configs: the table of docs/scale.md. Needs `jaxgan[targets]`.

    launch/local.sh python benchmarks/accelerators.py                                (every row; hours on 2 cores)
    launch/local.sh python benchmarks/accelerators.py r3gan_256 h100:8 [--parallel shard_map --batch-size 256 ...]
    launch/local.sh python benchmarks/accelerators.py --table                        (prints what there is)

A row is a process of its own, with a limit of processor time (--minutes), and a line or more of --out; the newest line
of each kind counts. The batch is the config's, made larger where it does not divide evenly. Nothing is measured: see
jaxgan/run/targets.py for what the figures are.
"""

import argparse
import dataclasses
import json
import math
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

CONFIGS = (
    "mnist_dcgan",
    "own_images",
    "biggan_128",
    "stylegan2_256",
    "stylegan2_1024",
    "r3gan_256",
    "progressive_1024",
    "msg_1024",
)
TARGETS = ("v5e:4x4", "v5p:4x4x4", "h100:8", "h200:8")
ROW = ("config", "target", "parallel", "batch_size", "accumulate")
FIGURES = (
    "stage",
    "examples",
    "fits",
    "peak",
    "room",
    "flops",
    "least",
    "estimate",
    "collectives",
    "repeated",
    "seconds",
)


def compile_row(row: dict[str, Any], minutes: float, out: Path) -> None:
    """Compiles a config for a target in a process of its own, and writes down what came of it."""
    command = [sys.executable, __file__, "--child", json.dumps(row), "--minutes", str(minutes), "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode == -signal.SIGXCPU:
        write(out, {**row, "failed": f"not compiled in {minutes:g} minutes of processor time"})
    elif ended.returncode:
        write(out, {**row, "failed": (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]})


def child(row: dict[str, Any], minutes: float, out: Path) -> None:
    """What the process of a row does."""
    limit = int(60 * minutes)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 10))
    from jaxgan.support import plugins

    plugins.leave_out_absent()
    from jaxgan import config as cfg
    from jaxgan.run import targets
    from jaxgan.support.errors import JaxganError

    config = cfg.load(row["config"])[1]
    target = targets.parse(row["target"])
    unit = target.count * row["accumulate"]
    first, *sizes = (
        math.ceil(size / unit) * unit for size in (row["batch_size"] or config.batch_size, *config.grow_batch_sizes)
    )
    config = dataclasses.replace(config, batch_size=first, grow_batch_sizes=tuple(sizes), accumulate=row["accumulate"])
    try:
        for report in targets.reports(config, target, row["parallel"]):
            write(out, row | {name: getattr(report, name) for name in FIGURES})
    except JaxganError as error:
        sys.exit(str(error))


def write(out: Path, line: dict[str, Any]) -> None:
    with out.open("a") as file:
        file.write(json.dumps(line) + "\n")


def table(out: Path) -> str:
    """The newest lines, as Markdown."""
    newest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in map(json.loads, out.read_text().splitlines()):
        row = tuple(line[name] for name in ROW)
        newest = {key: old for key, old in newest.items() if key[:-1] != row or ("failed" not in {**line, **old})}
        newest[(*row, line.get("stage", ""))] = line
    lines = [
        "| config on target | examples a device | peak, GiB | GFLOP a device | at least, ms: FLOPs | HBM | collectives "
        "| estimate, ms | collectives | repeated |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *(_line(line) for line in newest.values())])


def _line(row: dict[str, Any]) -> str:
    changed = [row["parallel"]] if row["parallel"] != "jit" else []
    changed += [f"--accumulate {row['accumulate']}"] if row["accumulate"] > 1 else []
    changed += [row["stage"]] if row.get("stage") else []
    name = ", ".join([row["config"], row["target"], *changed])
    if "failed" in row:
        return f"| {name} | {row['failed']} |" + 8 * " |"
    memory = f"{row['peak'] / 2**30:.1f} of {row['room'] / 2**30:.1f}{'' if row['fits'] else ', does not fit'}"
    least = [
        f"{row['least'][part] * 1e3:.3g}" if part in row["least"] else "-"
        for part in ("flops", "traffic", "collectives")
    ]
    estimate = f"{row['estimate'] * 1e3:.3g}" if row["estimate"] else "-"
    calls = ", ".join(f"{calls:g} {kind}, {size / 1e6:,.0f} MB" for kind, (calls, size) in row["collectives"].items())
    more = ", ".join(f"{kind} {times:.2f}" for kind, times in row["repeated"].items() if times > 1.01)
    cells = [name, f"{row['examples']:g}", memory, f"{sum(row['flops'].values()) / 1e9:,.1f}", *least, estimate]
    return f"| {' | '.join([*cells, calls or '-', more or '-'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", help="all if not given")
    parser.add_argument("target", nargs="?", help="all if not given")
    parser.add_argument("--parallel", default="jit")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", type=Path, default=Path("accelerators.jsonl"))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child, chosen.minutes, chosen.out)
        return
    if not chosen.table:
        for config in [chosen.config] if chosen.config else CONFIGS:
            for target in [chosen.target] if chosen.target else TARGETS:
                values = (config, target, chosen.parallel, chosen.batch_size, chosen.accumulate)
                compile_row(dict(zip(ROW, values, strict=True)), chosen.minutes, chosen.out)
                print(f"{config} {target}: done", flush=True)
    print(table(chosen.out))


if __name__ == "__main__":
    main()
