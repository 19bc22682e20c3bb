"""The long run: `python -m support.differential --cases 1000 --seed N --minutes M`."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from support.differential.case import Case, case_from_json, case_to_json
from support.differential.generate import make_case
from support.differential.judge import Laboratory, Report, run_case
from support.differential.shrink import shrink


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="support.differential", description=__doc__)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", default="1", help="cases are named SEED-0, SEED-1, ...")
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--only", help="one case by its full name, told build by build")
    parser.add_argument("--replay", type=Path, help="a case.json, told build by build")
    parser.add_argument("--keep", type=Path, help="where the shrunk failures go")
    parser.add_argument("--no-shrink", action="store_true")
    options = parser.parse_args(arguments)
    laboratory = Laboratory(os.environ)
    if options.only or options.replay:
        case = case_from_json(options.replay.read_text()) if options.replay else make_case(options.only)
        return tell(case, laboratory)
    facts = laboratory.facts
    parts = (f"engine {facts.engine_version}", f"{facts.image_store} store", f"buildx {facts.buildx_version}")
    say(", ".join((*parts, f"seed {options.seed}")))
    return soak(options, laboratory)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def tell(case: Case, laboratory: Laboratory) -> int:
    say(case.start.dockerfile("SALT"))
    report = run_case(case, laboratory, say=say)
    for finding in report.findings:
        say(str(finding))
    return 0 if report.is_clean else 1


def soak(options: argparse.Namespace, laboratory: Laboratory) -> int:
    counts: Counter[str] = Counter()
    failing: dict[str, set[str]] = {}
    slowest = 0.0
    ends = time.monotonic() + options.minutes * 60
    started = time.monotonic()
    done = 0
    for number in range(options.cases):
        if time.monotonic() > ends:
            break
        name = f"{options.seed}-{number}"
        case = make_case(name)
        try:
            report = run_case(case, laboratory)
        except Exception:  # noqa: BLE001 - a crash is a finding as well
            say(f"{name}: crashed\n{traceback.format_exc()}")
            failing[name] = {"crash"}
            continue
        done += 1
        counts.update(report.counts)
        slowest = max(slowest, report.slowest_plan)
        if not report.is_clean:
            say(f"{name}: {'; '.join(map(str, report.findings[:4]))}")
            again = _kinds(case, laboratory) | _kinds(case, laboratory)
            if not again & report.kinds():
                # The engine did not do it again; such a case is told apart, and not forgotten.
                counts[f"seen once, not in two repetitions: {', '.join(sorted(report.kinds()))}"] += 1
                continue
            failing[name] = report.kinds()
            if not options.no_shrink:
                _shrunk(name, case, report, laboratory, options.keep)
    say(table(done, counts, failing, slowest, time.monotonic() - started))
    return 1 if failing else 0


def _shrunk(name: str, case: Case, report: Report, laboratory: Laboratory, keep: Path | None) -> None:
    kinds = report.kinds()
    small = shrink(case, lambda one: bool(_kinds(one, laboratory) & kinds))
    text = case_to_json(small)
    say(text)
    if keep is not None:
        place = keep / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "case.json").write_text(text)


def _kinds(case: Case, laboratory: Laboratory) -> set[str]:
    try:
        return run_case(case, laboratory, stop_early=True).kinds()
    except Exception:  # noqa: BLE001 - a case that became senseless is no smaller failure
        return set()


def table(
    done: int, counts: Counter[str], failing: dict[str, set[str]], slowest: float, seconds: float
) -> str:
    """Return the figures of a run."""
    lines = [
        f"{done} cases in {seconds:.0f} s, {len(failing)} with findings; slowest plan {slowest * 1000:.1f} ms"
    ]
    lines += [f"  {count:>7}  {name}" for name, count in sorted(counts.items())]
    lines += [f"  failing: {name}: {', '.join(sorted(kinds))}" for name, kinds in failing.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
