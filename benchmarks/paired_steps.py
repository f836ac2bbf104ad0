"""Time of a training step in this checkout beside another one, taking turns in one run.

    git worktree add ../before COMMIT
    launch/local.sh python benchmarks/paired_steps.py ../before

For each case of step_time.py and for stylegan2_time.py's, a process a checkout compiles its program and keeps it; then
they run in turns, so that whatever else the machine does falls on both. Prints the median milliseconds a step of each,
and the median, smallest and largest ratio of this checkout to the other over the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]
WORKER = """
import dataclasses, json, math, sys, time
sys.path.insert(0, sys.argv[1] + "/benchmarks")
import step_time, stylegan2_time
from jaxgan import config as cfg
name = sys.argv[2]
if name == "stylegan2_64":
    config = dataclasses.replace(cfg.load(name)[1], augment=())
    steps = math.lcm(config.penalty_every, config.path_every)
    run = stylegan2_time.jax_run(config, steps)[2]
else:
    config, shape, steps = step_time.CASES[name]
    run = step_time.jax_runs(dataclasses.replace(config, steps=steps), shape, steps)[2]["loop"]
run()
print("ready", flush=True)
for _ in sys.stdin:
    since = time.perf_counter()
    run()
    print(json.dumps((time.perf_counter() - since) / steps), flush=True)
"""


def start(code: Path, case: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(code), case],
        env=os.environ | {"PYTHONPATH": str(code)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise SystemExit(f"{code}: {case} does not run")
    return process


def turn(process: subprocess.Popen[str]) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def main() -> None:
    import step_time

    cases = [*step_time.CASES, "stylegan2_64"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--only", nargs="*", default=cases)
    options = parser.parse_args()
    print(f"{'ms a step':40} {'before':>8} {'now':>8}   ratio (smallest to largest)")
    for case in options.only:
        processes = [start(code.absolute(), case) for code in (options.before, HERE)]
        times = [tuple(turn(process) for process in processes) for _ in range(options.rounds)]
        for process in processes:
            process.kill()
        before, now = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
        ratios = sorted(b / a for a, b in times)
        print(
            f"{case:40} {before:8.2f} {now:8.2f}   {statistics.median(ratios):.3f} "
            f"({ratios[0]:.3f} to {ratios[-1]:.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
