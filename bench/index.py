"""How fast, how large and how exact the Hamming index is, beside what else there is: `python -m bench.index`.

Everything runs on one thread and in turns, so that a busy machine is as busy for all: round by round each engine
answers the same queries, and the median of the rounds counts. Times are CPU times of the process. The other engines
live in `.local/bench-peers`, a virtual environment that this script makes; each is asked in a process of its own. Ours
is asked twice: with the compiled kernel, which must be there (`pip install -e .` with a compiler), and without.

    python -m bench.index measure 100000 pdq        one size and kind of codes, results to .local/bench-index/
    python -m bench.index extras 1000000 kernel     crowds, added codes, pictures, ceilings, opening; or numpy
    python -m bench.index report                    docs/performance.md's tables and plot from all results
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402  one thread must be asked for first
from numpy.typing import NDArray  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".local" / "bench-index"
PEERS = ROOT / ".local" / "bench-peers"
PACKAGES = ("threatexchange==1.2.17", "faiss-cpu==1.15.1", "pdqhash==0.2.8", "pynear==2.6.0", "numpy==2.4.6")
BATCHES = (1, 100, 1000)
ROUNDS = 3
QUERIES = 5000
# An engine asks at most so long in each round and at each batch size; slow ones answer fewer of the queries.
SECONDS = 0.7
# Hash tables of ten million codes do not fit into this machine's memory beside each other.
LIMITS = {"threatexchange PDQIndex": 2_000_000, "faiss MultiHash": 2_000_000, "pynear MIH": 2_000_000}

Codes = NDArray[np.uint8]
Answer = Callable[[Codes], set[int]]


def measure(size: int, kind: str) -> None:
    """Build every engine over the same codes and ask all of them the same queries."""
    from bench import codes

    RESULTS.mkdir(parents=True, exist_ok=True)
    _make_peers()
    stored = RESULTS / f"codes-{kind}-{size}.npy"
    if not stored.exists():
        np.save(stored, codes.uniform(size, seed=1) if kind == "uniform" else codes.pdq_like(size, seed=1))
    listed = np.load(stored)
    # As many as let a fast engine forget what the others left in the caches.
    asked = [codes.queries(listed, QUERIES, kind, seed=100 + number) for number in range(ROUNDS)]
    # Half of the queries that check exactness lie within 40 bits of a listed code, around the radius.
    rng = np.random.default_rng(5)
    edge = codes.flipped(listed[rng.integers(0, size, 250)], rng.integers(0, 41, 250), rng)
    exact = np.concatenate([edge, codes.queries(listed, 250, kind, seed=6)])
    np.save(RESULTS / "queries.npy", np.stack(asked))
    np.save(RESULTS / "exact.npy", exact)
    truth = {int(query) for query in np.flatnonzero(_scan(listed, exact))}
    del listed

    names = list(OURS) + [name for name in PEER_ENGINES if size <= LIMITS.get(name, size)]
    results: dict[str, dict[str, Any]] = {}
    workers = {name: _Worker(name, stored) for name in names}
    for name, worker in workers.items():
        results[name] = worker.ask("build") | {"us": {}}
        missing, extra = worker.ask("exact", truth=sorted(truth))["differences"]
        results[name] |= {"missing": missing, "extra": extra}
        print(name, results[name], flush=True)
    times: dict[tuple[str, int], list[float]] = {}
    for number in range(ROUNDS):
        for batch in BATCHES:
            for name, worker in workers.items():
                times.setdefault((name, batch), []).append(worker.ask("time", round=number, batch=batch)["us"])
    for worker in workers.values():
        worker.close()
    for (name, batch), values in times.items():
        results[name]["us"][batch] = median(values)
        results[name].setdefault("spread", {})[batch] = [min(values), max(values)]
    _keep(f"{kind}-{size}", {"size": size, "kind": kind, "matching": len(truth), "engines": results})
    for name, result in results.items():
        print(f"{name:26s}", {batch: round(value, 1) for batch, value in result["us"].items()})


class _Worker:
    """An engine in a process of its own, which answers one line of JSON with another."""

    def __init__(self, name: str, stored: Path) -> None:
        python = sys.executable if name in OURS else str(PEERS / "bin" / "python")
        self._process = subprocess.Popen(  # noqa: S603  our own script
            [python, __file__, "worker", name, str(stored)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise OSError("no pipes")
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def ask(self, what: str, **values: Any) -> dict[str, Any]:
        self._questions.write(json.dumps({"what": what, **values}) + "\n")
        self._questions.flush()
        answer: dict[str, Any] = json.loads(self._answers.readline())
        return answer

    def close(self) -> None:
        self._questions.close()
        self._process.wait()


def work(name: str, stored: Path) -> None:
    """The other end of a worker."""
    codes = np.load(stored)
    queries, exact = np.load(stored.with_name("queries.npy")), np.load(stored.with_name("exact.npy"))
    answer: Answer = set
    for line in sys.stdin:
        task = json.loads(line)
        result: dict[str, Any] = {}
        match task["what"]:
            case "build":
                before, start = _resident(), time.process_time()
                answer = ENGINES[name](codes)
                result = {"build_s": time.process_time() - start, "memory_mb": _resident() - before}
                start = time.process_time()
                answer(queries[0, :1])
                result["first_query_ms"] = (time.process_time() - start) * 1e3
            case "exact":
                found, truth = answer(exact), set(task["truth"])
                result = {"differences": [len(truth - found), len(found - truth)]}
            case "time":
                asked, batch = queries[task["round"]], task["batch"]
                start = time.process_time()
                done = 0
                while done < len(asked) and (time.process_time() - start < SECONDS or not done):
                    answer(asked[done : done + batch])
                    done += batch
                result = {"us": (time.process_time() - start) / done * 1e6}
        print(json.dumps(result), flush=True)


# ------------------------------------------------------------------------- engines: which of the queries have a match


def _engine(name: str) -> None:
    """Let our index search by the compiled kernel, or by NumPy although there is one."""
    from optout.exclusions import index, kernel

    index._KERNEL = kernel.load() if name == "kernel" else None
    if name == "kernel" and index._KERNEL is None:
        raise OSError("the kernel was not compiled")


def _ours(codes: Codes, engine: str = "kernel") -> Answer:
    from optout.exclusions.index import HammingIndex

    _engine(engine)
    index = HammingIndex.build(codes)
    return lambda queries: set((index.any_match(queries) >= 0).nonzero()[0].tolist())


def _threatexchange(codes: Codes) -> Answer:
    import faiss
    from threatexchange.signal_type.pdq.pdq_index import PDQIndex

    faiss.omp_set_num_threads(1)
    index = PDQIndex(entries=((code.tobytes().hex(), row) for row, code in enumerate(codes)))
    # It takes one hash in hex at a time, as HMA calls it.
    return lambda queries: {at for at, code in enumerate(queries) if index.query(code.tobytes().hex())}


def _faiss_flat(codes: Codes) -> Answer:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryFlat(256)
    index.add(codes)
    # faiss means "less than".
    return lambda queries: set(np.flatnonzero(np.diff(index.range_search(queries, 32)[0].astype(np.int64))).tolist())


def _faiss_multihash(codes: Codes) -> Answer:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryMultiHash(256, 16, 16)
    index.nflip = 1
    index.add(codes)
    return lambda queries: set(np.flatnonzero(np.diff(index.range_search(queries, 32)[0].astype(np.int64))).tolist())


def _pynear(codes: Codes) -> Answer:
    import pynear

    index = pynear.MIHBinaryIndex(m=16)
    index.set(codes)

    def answer(queries: Codes) -> set[int]:
        _, distances = index.searchKNN(np.ascontiguousarray(queries), 1, 31)
        return {at for at, near in enumerate(distances) if len(near) and min(near) <= 31}

    return answer


PEER_ENGINES = {
    "threatexchange PDQIndex": _threatexchange,
    "faiss Flat": _faiss_flat,
    "faiss MultiHash": _faiss_multihash,
    "pynear MIH": _pynear,
}
OURS: dict[str, Callable[[Codes], Answer]] = {
    "image-optout": _ours,
    "image-optout, NumPy": partial(_ours, engine="numpy"),
}
ENGINES: dict[str, Callable[[Codes], Answer]] = {**OURS, **PEER_ENGINES}


# ------------------------------------------------------------------------------------------ what only our index can do


def extras(size: int, engine: str) -> None:  # noqa: PLR0915  one story, told once
    """Crowds inside and outside the radius, codes added on top, wider radii, saving and opening; PDQ-like codes."""
    from bench import codes
    from optout.exclusions.index import HammingIndex

    _engine(engine)
    RESULTS.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(9)
    listed = codes.pdq_like(size, seed=1)
    usual = codes.queries(listed, 1000, "pdq", seed=2)
    centre = codes.uniform(1, seed=3)
    crowded = listed.copy()
    crowded[rng.choice(size, 50_000, replace=False)] = codes.flipped(
        np.repeat(centre, 50_000, axis=0), rng.integers(0, 13, 50_000), rng
    )
    around = np.repeat(centre, 1000, axis=0)
    inside = codes.flipped(around, rng.integers(0, 13, 1000), rng)
    outside = codes.flipped(around, np.full(1000, 46), rng)
    # At 37 bits most of the crowd may be within the radius and none of it is, as far as a search can tell beforehand.
    nearer, nearest = (codes.flipped(around, np.full(1000, bits), rng) for bits in (40, 37))
    mixed = [
        np.where((np.arange(1000) % 50 == 0)[:, None], other, usual) for other in (inside, outside, nearer, nearest)
    ]

    plain, with_crowd, on_top = HammingIndex.build(listed), HammingIndex.build(crowded), HammingIndex.build(listed)
    added = codes.pdq_like(100_000, seed=4)
    # Half of them one by one, half as pictures are added: eight orientations at once.
    add_us = np.empty(50_000)
    for number, code in enumerate(added[:50_000]):
        start = time.perf_counter()
        on_top.add(code.tobytes())
        add_us[number] = (time.perf_counter() - start) * 1e6
    start = time.process_time()
    for first in range(50_000, 100_000, 8):
        on_top.extend(added[first : first + 8])
    picture_us = (time.process_time() - start) / (50_000 / 8) * 1e6
    few = HammingIndex.build(listed)
    for code in added[:2000]:
        few.add(code.tobytes())
    cases: dict[str, tuple[HammingIndex, Codes]] = {
        "usual": (plain, usual),
        "a crowd in the list, usual queries": (with_crowd, usual),
        "1 of 50 queries inside the crowd": (with_crowd, mixed[0]),
        "1 of 50 queries 46 bits from its centre": (with_crowd, mixed[1]),
        "1 of 50 queries 40 bits from its centre": (with_crowd, mixed[2]),
        "1 of 50 queries 37 bits from its centre": (with_crowd, mixed[3]),
        "every query inside the crowd": (with_crowd, inside),
        "every query 46 bits from its centre": (with_crowd, outside),
        "every query 40 bits from its centre": (with_crowd, nearer),
        "every query 37 bits from its centre": (with_crowd, nearest),
        "2,000 added": (few, usual),
        "100,000 added": (on_top, usual),
    }
    times: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in BATCHES} for name in cases}
    for _ in range(ROUNDS):
        for batch in BATCHES:
            for name, (index, queries) in cases.items():
                count = 1000 if batch > 1 else 250
                start = time.process_time()
                for first in range(0, count, batch):
                    index.any_match(queries[first : first + batch])
                times[name][batch].append((time.process_time() - start) / count * 1e6)
    wide: dict[int, float] = {}
    for radius in (31, 46, 47, 63, 64):
        count = 100 if radius < 64 else 10
        start = time.process_time()
        plain.any_match(usual[:count], radius)
        wide[radius] = (time.process_time() - start) / count * 1e6
    # A picture whose pixels are given: twelve codes, of the whole and of its views, within the wider radius.
    pictures = {}
    for name, index in (("plain", plain), ("100,000 added", on_top)):
        start = time.process_time()
        for first in range(0, 996, 12):
            index.matches(usual[first : first + 12], 46)
        pictures[name] = (time.process_time() - start) / 83 * 1e6
    path = RESULTS / "saved"
    clock = time.perf_counter
    start = clock()
    plain.save(path)
    saving = clock() - start
    size_mb = path.stat().st_size / 1e6
    opening = {}
    for verify in (True, False):
        _evict(path)
        start = clock()
        index = HammingIndex.open(path, verify=verify)
        opened = clock()
        index.any_match(usual[:1])
        answered = clock()
        index.any_match(usual[1:101])
        opening[f"verify={verify}"] = {
            "open_ms": (opened - start) * 1e3,
            "first_query_ms": (answered - opened) * 1e3,
            "next_100_ms": (clock() - answered) * 1e3,
        }
        del index
    path.unlink()
    result = {
        "size": size,
        "engine": engine,
        "ceilings": _ceilings(),
        "picture_us": picture_us,
        "full_depth_us": pictures,
        "us": {name: {batch: median(values) for batch, values in each.items()} for name, each in times.items()},
        "add_us": {"median": float(np.median(add_us)), "mean": float(add_us.mean()), "max": float(add_us.max())},
        "radius_us": wide,
        "save_s": saving,
        "file_mb": size_mb,
        "open": opening,
    }
    _keep(f"extras-{size}-{engine}", result)
    print(json.dumps(result, indent=1))


# --------------------------------------------------------------------------------------------------------- the report


def report() -> None:
    """Tables and plot from all kept results, into docs/performance.md between its two marks."""
    from bench.plot import cost_against_size

    runs = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*-*.json"))]
    measured = sorted((run for run in runs if "engines" in run), key=lambda run: (run["kind"], run["size"]))
    lines: list[str] = []
    for run in measured:
        peer = run["engines"].get("threatexchange PDQIndex")
        lines += [
            f"**{run['size']:,} {'PDQ-like' if run['kind'] == 'pdq' else 'uniform'} codes** (us per code)",
            "",
            "| engine | batch 1 | 100 | 1,000 | PDQIndex takes (1 / 1,000) | build s | MB | first ms | missed, wrong |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for name, found in run["engines"].items():
            us = found["us"]
            faster = f"x{peer['us']['1'] / us['1']:.1f} / x{peer['us']['1000'] / us['1000']:.1f}" if peer else "-"
            costs = f"{us['1']:,.0f} | {us['100']:,.1f} | {us['1000']:,.1f} | {faster} | {found['build_s']:.1f}"
            sizes = f"{found['memory_mb']:,.0f} | {found['first_query_ms']:.1f}"
            lines.append(f"| {name} | {costs} | {sizes} | {found['missing']}, {found['extra']} |")
        lines.append("")
    for run in sorted((run for run in runs if "add_us" in run), key=lambda run: (run["size"], run["engine"])):
        engine = "the kernel" if run["engine"] == "kernel" else "NumPy alone"
        lines += [f"**{run['size']:,} PDQ-like codes, our index with {engine}** (us per code, times the usual)", ""]
        lines += ["| case | batch 1 | batch 100 | batch 1,000 |", "|---|---|---|---|"]
        usual = run["us"]["usual"]
        for name, us in run["us"].items():
            cells = [f"{us[batch]:,.1f} ({us[batch] / usual[batch]:.2f})" for batch in ("1", "100", "1000")]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        add, opened = run["add_us"], run["open"]
        lines += ["", f"Adding one code: median {add['median']:.1f} us, mean {add['mean']:.1f} us, longest "]
        lines[-1] += (
            f"{add['max'] / 1e3:.0f} ms; a picture's eight together {run['picture_us']:,.0f} us. "
            f"Saved in {run['save_s']:.1f} s to {run['file_mb']:,.0f} MB. "
        )
        lines[-1] += "; ".join(
            f"opened with {how} from a cold disk cache in {ms['open_ms']:,.1f} ms, "
            f"first query {ms['first_query_ms']:.1f} ms, the next 100 {ms['next_100_ms']:.1f} ms"
            for how, ms in opened.items()
        )
        lines[-1] += ". A picture in full depth, 12 codes within 46 bits at once: "
        lines[-1] += ", ".join(f"{us:,.0f} us ({name})" for name, us in run["full_depth_us"].items())
        lines[-1] += ". Radius (us per code, batch 100): "
        lines[-1] += ", ".join(f"{radius}: {us:,.0f}" for radius, us in run["radius_us"].items()) + "."
        most = run["ceilings"]
        scan = run["size"] * max(most["stream"], most["popcount"]) / 1e3
        lines[-1] += (
            f" Ceilings of this core: {most['stream']:.1f} ns to read a code in order from memory, "
            f"{most['popcount']:.1f} ns to count one in the cache, so a full scan takes at least {scan:,.0f} us, "
            f"{scan / usual['1000']:,.0f} times as long as a search; {most['line']:.1f} ns to read a line anywhere."
        )
        lines.append("")
    document = ROOT / "docs" / "performance.md"
    text = document.read_text()
    begin, end = "<!-- index: measured -->\n", "<!-- index: end -->"
    head, rest = text.split(begin)
    document.write_text(head + begin + "\n".join(lines) + end + rest.split(end)[1])
    cost_against_size(measured, ROOT / "docs" / "index-cost.png")


# ------------------------------------------------------------------------------------------------------------- around


def _make_peers() -> None:
    if not (PEERS / "made").exists():
        venv.create(PEERS, with_pip=True, clear=True)
        pip = [str(PEERS / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES], check=True)  # noqa: S603
        (PEERS / "made").touch()


def _scan(codes: Codes, queries: Codes) -> NDArray[np.bool_]:
    """Which queries have a code within 31 bits, by comparing all."""
    words, asked = codes.view(np.uint64), np.ascontiguousarray(queries).view(np.uint64)
    found = np.zeros(len(asked), dtype=bool)
    for first in range(0, len(words), 8192):
        block = words[first : first + 8192]
        for at in np.flatnonzero(~found):
            found[at] = (np.bitwise_count(block ^ asked[at]).sum(axis=1, dtype=np.int64) <= 31).any()
    return found


def _ceilings() -> dict[str, float]:
    """What this machine can do at most on one core, in nanoseconds: read a code of 32 bytes in order from memory, count
    the ones of one from the cache, and read one line of 64 bytes anywhere in 256 MB, many at a time."""
    from bench import codes
    from optout.exclusions import index, kernel

    large = np.ones(1 << 25, dtype=np.uint64)
    found: dict[str, list[float]] = {"stream": [], "popcount": [], "line": []}
    places = np.random.default_rng(1).integers(0, 1 << 22, 1 << 20) * 8
    # So few are compared one by one.
    few, asked = index.HammingIndex.build(codes.uniform(3000, seed=1)), codes.uniform(1000, seed=2)
    engine, index._KERNEL = index._KERNEL, kernel.load()
    for _ in range(5):
        start = time.process_time()
        large.max()
        found["stream"].append((time.process_time() - start) / (len(large) / 4) * 1e9)
        start = time.process_time()
        large.take(places)
        found["line"].append((time.process_time() - start) / len(places) * 1e9)
        start = time.process_time()
        few.any_match(asked, 0)
        found["popcount"].append((time.process_time() - start) / len(few) / len(asked) * 1e9)
    index._KERNEL = engine
    return {name: min(values) for name, values in found.items()}


def _resident() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1e3


def _evict(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _keep(name: str, result: dict[str, Any]) -> None:
    about = {"date": time.strftime("%Y-%m-%d"), "machine": platform.processor() or platform.machine()}
    (RESULTS / f"{name}.json").write_text(json.dumps(result | about, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure")
    one.add_argument("size", type=int)
    one.add_argument("kind", choices=("pdq", "uniform"))
    more = commands.add_parser("extras")
    more.add_argument("size", type=int)
    more.add_argument("engine", choices=("kernel", "numpy"))
    commands.add_parser("report")
    worker = commands.add_parser("worker")
    worker.add_argument("name")
    worker.add_argument("stored", type=Path)
    given = parser.parse_args()
    if given.command == "measure":
        measure(given.size, given.kind)
    elif given.command == "extras":
        extras(given.size, given.engine)
    elif given.command == "report":
        report()
    else:
        work(given.name, given.stored)
