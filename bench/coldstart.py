"""How long each handler takes to import, over a bare Python: what a cold start costs before the first request.

    python -m bench.coldstart [--runs 15]

Each run is a fresh process, measured by the processor time it took: importing waits for nothing else once the files are
in memory, and a busy machine adds little to it. The handlers take turns, so that what it adds meets all of them alike.
Compiled modules are kept between runs. A layer holds none, so a first start without a snapshot also compiles:
`--no-bytecode` shows it.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
HANDLERS = ("submit", "decide", "notify", "examine", "exclude_check")
PAGES = ("submit", "decide", "notify")
# Over bare Python, on two shared cores of x86-64.
PAGE_BUDGET_MS = 350.0

_VARIABLES = {
    "POWERTOOLS_SERVICE_NAME": "bench",
    "POWERTOOLS_METRICS_NAMESPACE": "Bench",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
    "AWS_DEFAULT_REGION": "us-east-1",
}
# A comparison that everybody knows: the first client of boto3, which each request that stores something needs once.
_SUBJECTS = {
    "bare": "pass",
    **{
        name: f"import sys; sys.path.insert(0, {str(REPOSITORY / 'functions' / name)!r}); import handler"
        for name in HANDLERS
    },
    "boto3": "import boto3",
    "boto3, client of DynamoDB": "from optout import settings; settings.aws('dynamodb')",
}


def once(code: str, *, bytecode: bool) -> float:
    """Milliseconds of processor time of a fresh Python that runs this code: user and system, start to end."""
    flags = [] if bytecode else ["-B", "-X", f"pycache_prefix={os.devnull}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(  # noqa: S603  its words are all in this file
        [sys.executable, *flags, "-c", code], check=True, cwd=REPOSITORY, env={**os.environ, **_VARIABLES}
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def measure(runs: int, *, bytecode: bool = True) -> dict[str, list[float]]:
    """Milliseconds over bare Python of every run, by subject; the bare runs themselves under `bare`."""
    for code in _SUBJECTS.values():
        once(code, bytecode=bytecode)  # fills the caches of files and of compiled modules
    taken: dict[str, list[float]] = {name: [] for name in _SUBJECTS}
    for run in range(runs):
        for name, code in _SUBJECTS.items():
            taken[name].append(once(code, bytecode=bytecode))
        if sys.stderr.isatty():
            print(f"\r{run + 1}/{runs}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    bare = statistics.median(taken["bare"])
    return {name: [each - (bare if name != "bare" else 0) for each in found] for name, found in taken.items()}


def table(found: dict[str, list[float]]) -> str:
    """Markdown: median, fastest and slowest quarter, and the budget where there is one."""
    lines = ["| what | median ms | quartiles | budget |", "|---|---|---|---|"]
    for name, each in found.items():
        low, middle, high = statistics.quantiles(each, n=4)
        budget = f"{PAGE_BUDGET_MS:.0f}" if name in PAGES else ""
        label = "bare Python, start to end" if name == "bare" else name
        lines.append(f"| {label} | {middle:.0f} | {low:.0f} to {high:.0f} | {budget} |")
    return "\n".join(lines)


def main() -> int:
    """Prints the table; 1 when a page handler is over its budget."""
    parser = argparse.ArgumentParser(description="Import time of every handler over bare Python.")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--no-bytecode", action="store_true", help="compile every module anew, as the first start does")
    options = parser.parse_args()
    found = measure(options.runs, bytecode=not options.no_bytecode)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {platform.machine()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.runs} runs\n"
    )
    print(table(found))
    late = [name for name in PAGES if statistics.median(found[name]) > PAGE_BUDGET_MS]
    if late:
        print(f"\nOver the budget of {PAGE_BUDGET_MS:.0f} ms: {', '.join(late)}")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
