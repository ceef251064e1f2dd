"""Holds a run's GPU telemetry against nvidia-smi's own reading, and its treatments against what the engine is known to do.

usage: check.py RUN_DIR SUMMARY_JSON [SMI_CSV]     without SMI_CSV (a machine without a GPU) only the pipeline is checked

SMI_CSV is `nvidia-smi --query-gpu=… --format=csv,nounits` of QUERY, sampled during the run. Both clocks are this machine's; telemetry is
matched to nvidia-smi by wall time: `started_utc` of the trial, plus the engine's startup, plus `t_ns`. Prints one line a fact and one a check; exit code 1 where a
check failed. A field that the driver does not give is printed as such and fails only where every GPU of this check's kind has it.
"""

import csv
import datetime
import json
import statistics
import sys
from pathlib import Path

# Order of the columns in SMI_CSV; run.sh asks for these.
QUERY = "timestamp,index,power.draw,memory.used,memory.reserved,clocks.sm,clocks.mem,temperature.gpu,utilization.gpu"

TOLERANCE = {
    # nvidia-smi and NVML's counter average over about a second, and are not read at the same moment.
    "power_ratio": 0.15,
    "energy_ratio": 0.2,
    "memory_ratio": 0.02,
    "clock_ratio": 0.05,
    "temperature_celsius": 4,
}
LEAST_SAMPLES = 4
MIB = 1 << 20

failed = []


def fact(name: str, value: str) -> None:
    print(f"      {name}: {value}")


def check(name: str, good: bool, detail: str) -> None:
    print(f"{'ok   ' if good else 'FAIL '} {name}: {detail}")
    if not good:
        failed.append(name)


def close(a: float, b: float, ratio: float) -> bool:
    return abs(a - b) <= ratio * max(abs(a), abs(b))


def jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Trial:
    def __init__(self, folder: Path):
        self.folder = folder
        self.record = json.loads((folder / "trial.json").read_text())
        self.engine = json.loads((folder / "engine.json").read_text())
        self.traces = jsonl(folder / "traces.jsonl")
        self.telemetry = jsonl(folder / "telemetry.jsonl")
        self.variant = self.record["variant"]
        # A trial's clock starts when its engine is ready.
        self.start = datetime.datetime.fromisoformat(self.record["started_utc"]).timestamp() + self.engine["startup_ns"] / 1e9
        span = self.record["span"] or {"start_ns": 0, "end_ns": 0}
        self.begin_ns, self.end_ns = span["start_ns"], span["end_ns"]

    def completed(self) -> list[dict]:
        return [t["outcome"]["completed"] for t in self.traces if "completed" in t["outcome"]]

    def tokens(self) -> int:
        return sum(c["completion_tokens"] for c in self.completed())

    def gpu(self) -> list[dict]:
        """Samples of the first GPU while requests were in flight, each with its wall time."""
        rows = [row for row in self.telemetry if self.begin_ns <= row["t_ns"] <= self.end_ns and row["gpus"]]
        return [{**row["gpus"][0], "at": self.start + row["t_ns"] / 1e9, "t_ns": row["t_ns"]} for row in rows]


def values(samples: list[dict], field: str) -> list[float]:
    return [s[field] for s in samples if s.get(field) is not None]


def smi_rows(path: Path) -> list[dict]:
    """Readings of the first GPU by local wall time; what it writes as [N/A] is left out."""
    rows = []
    for raw in csv.reader(path.read_text().splitlines(), skipinitialspace=True):
        if len(raw) != len(QUERY.split(",")) or not raw[0][:1].isdigit() or raw[1] != "0":
            continue
        row = {"at": datetime.datetime.strptime(raw[0], "%Y/%m/%d %H:%M:%S.%f").timestamp()}
        for name, text in zip(QUERY.split(",")[2:], raw[2:]):
            try:
                row[name] = float(text)
            except ValueError:
                continue
        rows.append(row)
    return rows


def pipeline(trials: list[Trial]) -> None:
    for t in trials:
        done = t.completed()
        check(f"{t.folder.name} completed", len(done) == len(t.traces) > 0, f"{len(done)} of {len(t.traces)} requests")
        # The packer's count and the engine's agree for every request, through the same template.
        wrong = [r["request_id"] for r in t.traces if "completed" in r["outcome"]
                 and r["outcome"]["completed"]["prompt_tokens"] != r["expected_prompt_tokens"]]
        check(f"{t.folder.name} prompt tokens", not wrong, f"{len(wrong)} differ from the packed count")
        counted = t.engine.get("metrics") or {}
        fact(f"{t.folder.name} tokens", f"client {t.tokens()}, engine {counted.get('generation_tokens')}")


def treatments(summary: Path, has_graphs: bool) -> None:
    """What each setting is known to do here; without a GPU there are no CUDA graphs to switch off.

    The report's summary holds what was settled over the whole run.
    """
    expected = {"C2": "CONFIRMED", "C3": "CONFIRMED" if has_graphs else "NO-OP", "C4": "NO-OP"}
    seen = dict.fromkeys(expected, frozenset())
    for variant, treatment in found_treatments(summary):
        if variant in seen:
            seen[variant] |= {treatment}
    for variant, treatment in expected.items():
        check(f"{variant} treatment", seen[variant] == {treatment}, f"{sorted(seen[variant])}, known to be {treatment}")


def found_treatments(summary: Path):
    """Every pair of variant and treatment that stands side by side in the file, at any depth."""
    todo = [json.loads(summary.read_text())]
    while todo:
        at = todo.pop()
        if isinstance(at, dict):
            if isinstance(at.get("variant"), str) and isinstance(at.get("treatment"), str):
                yield at["variant"], at["treatment"].upper()
            todo += at.values()
        elif isinstance(at, list):
            todo += at


def machine(run: Path) -> None:
    environment = json.loads((run / "environment.json").read_text())
    gpus = environment.get("gpus") or []
    check("GPU facts", bool(gpus), environment.get("gpu_note") or f"{len(gpus)} GPU in environment.json")
    for gpu in gpus:
        for name, value in gpu.items():
            fact(f"GPU {gpu['index']} {name}", str(value))
        for name in ("name", "uuid", "driver", "memory_total_bytes", "power_limit_milliwatts", "max_sm_clock_mhz"):
            check(f"GPU {gpu['index']} {name}", gpu.get(name) is not None, str(gpu.get(name)))


def integral_joules(samples: list[dict]) -> float:
    """Power over time, by trapezoids; what is between two samples that both have a power."""
    have = [s for s in samples if s.get("power_milliwatts") is not None]
    pairs = zip(have, have[1:])
    return sum((b["t_ns"] - a["t_ns"]) / 1e9 * (a["power_milliwatts"] + b["power_milliwatts"]) / 2e3 for a, b in pairs)


def telemetry(t: Trial, smi: list[dict]) -> None:
    name, samples = t.folder.name, t.gpu()
    seconds = (t.end_ns - t.begin_ns) / 1e9
    check(f"{name} samples", len(samples) >= LEAST_SAMPLES, f"{len(samples)} with a GPU in {seconds:.1f} s")
    if len(samples) < LEAST_SAMPLES:
        return
    for field in ("power_milliwatts", "energy_millijoules", "memory_used_bytes", "utilisation_ratio", "temperature_celsius",
                  "sm_clock_mhz", "memory_clock_mhz", "throttle"):
        have = sum(s.get(field) is not None for s in samples)
        check(f"{name} {field}", have == len(samples), f"{have} of {len(samples)} samples")
    notes = sorted({row["gpu_note"] for row in t.telemetry if row.get("gpu_note")})
    check(f"{name} notes", not notes, "; ".join(notes) or "none")
    reasons = sorted({r for s in samples for r in s["throttle"] or []})
    fact(f"{name} throttle reasons", ", ".join(reasons) or "none")
    energy = values(samples, "energy_millijoules")
    if len(energy) > 1:
        check(f"{name} energy counter", energy == sorted(energy) and energy[-1] > energy[0], f"+{(energy[-1] - energy[0]) / 1e3:.1f} J")
        joules, by_power = (energy[-1] - energy[0]) / 1e3, integral_joules(samples)
        seconds = (samples[-1]["t_ns"] - samples[0]["t_ns"]) / 1e9
        same = close(joules, by_power, TOLERANCE["energy_ratio"])
        check(f"{name} energy = ∫ power", same, f"{joules:.1f} J and {by_power:.1f} J in {seconds:.1f} s")
        # All tokens, warm-up and fillers too, over the whole span.
        per_token = joules / seconds * (t.end_ns - t.begin_ns) / 1e9 / max(t.tokens(), 1)
        fact(f"{name} energy per output token", f"{per_token * 1e3:.1f} mJ ({t.tokens()} tokens)")

    near = [r for r in smi if samples[0]["at"] <= r["at"] <= samples[-1]["at"]]
    check(f"{name} nvidia-smi rows", len(near) >= LEAST_SAMPLES, f"{len(near)} in the same window")
    if len(near) < LEAST_SAMPLES:
        return

    def beside(what: str, ours: list[float], field: str, unit: str, good) -> None:
        theirs = values(near, field)
        if not ours or not theirs:
            check(f"{name} {what}", False, f"telemetry has {len(ours)} values, nvidia-smi {len(theirs)}")
            return
        a, b = statistics.mean(ours), statistics.mean(theirs)
        check(f"{name} {what}", good(a, b), f"telemetry {a:.1f} {unit}, nvidia-smi {b:.1f} {unit}")

    def within(key: str):
        return lambda a, b: close(a, b, TOLERANCE[key])

    beside("power", [v / 1e3 for v in values(samples, "power_milliwatts")], "power.draw", "W", within("power_ratio"))
    # NVML's older call counts what the driver reserves for itself as used, nvidia-smi does not.
    reserved = statistics.mean(values(near, "memory.reserved") or [0.0])
    fact(f"{name} memory reserved by the driver", f"{reserved:.1f} MiB")

    def same_memory(a: float, b: float) -> bool:
        return any(close(a, b + extra, TOLERANCE["memory_ratio"]) for extra in (0.0, reserved))

    beside("memory", [v / MIB for v in values(samples, "memory_used_bytes")], "memory.used", "MiB", same_memory)
    beside("SM clock", values(samples, "sm_clock_mhz"), "clocks.sm", "MHz", within("clock_ratio"))
    beside("memory clock", values(samples, "memory_clock_mhz"), "clocks.mem", "MHz", within("clock_ratio"))
    beside("temperature", values(samples, "temperature_celsius"), "temperature.gpu", "°C",
           lambda a, b: abs(a - b) <= TOLERANCE["temperature_celsius"])


def main() -> int:
    run = Path(sys.argv[1])
    trials = [Trial(p.parent) for p in sorted(run.glob("trials/*/trial.json"))]
    has_gpu = len(sys.argv) > 3
    check("trials", bool(trials), f"{len(trials)} in {run}")
    pipeline(trials)
    treatments(Path(sys.argv[2]), has_gpu)
    if has_gpu:
        machine(run)
        smi = smi_rows(Path(sys.argv[3]))
        for t in trials:
            telemetry(t, smi)
    print(f"{len(failed)} checks failed" + (": " + ", ".join(failed) if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
