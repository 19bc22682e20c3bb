"""Reads the labelled corpus of RUN steps and measures the classifier on it.

Run it to see the figures and every step on which the classifier and the label differ:

    PYTHONPATH=tests python -m support.classify
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from devloop.cost.classify import Classification, classify

CORPUS = Path(__file__).parents[1] / "cost" / "corpus.txt"
_CLAIMS = {"yes": True, "no": False, "unknown": None}


@dataclass(frozen=True, slots=True)
class Labelled:
    command: str | tuple[str, ...]
    kind: str
    expensive: bool | None


@dataclass(frozen=True, slots=True)
class Rate:
    """Precision and recall of one claim over the corpus."""

    right: int
    claimed: int
    true: int

    @property
    def precision(self) -> float:
        return self.right / self.claimed if self.claimed else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.true if self.true else 1.0


def load_corpus(path: Path = CORPUS) -> tuple[Labelled, ...]:
    found: list[Labelled] = []
    kind, expensive = "", None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            _, kind, claim = line.split()
            expensive = _CLAIMS[claim]
        elif line.strip() and (kind or not line.startswith("#")):
            found.append(Labelled(_command(line), kind, expensive))
    return tuple(found)


def _command(line: str) -> str | tuple[str, ...]:
    if line.startswith("["):
        try:
            return tuple(json.loads(line))
        except ValueError:
            pass
    return line.replace("␤", "\n")


def measure(
    corpus: tuple[Labelled, ...],
) -> tuple[dict[str, Rate], dict[str, Rate], list[tuple[Labelled, Classification]]]:
    """Give the rates of each answer to "expensive?", of each kind, and the steps judged differently."""
    verdicts = [(labelled, classify(labelled.command)) for labelled in corpus]
    answers = {
        name: Rate(
            sum(1 for label, got in verdicts if label.expensive is claim and got.expensive is claim),
            sum(1 for _, got in verdicts if got.expensive is claim),
            sum(1 for label, _ in verdicts if label.expensive is claim),
        )
        for name, claim in _CLAIMS.items()
    }
    right = Counter(label.kind for label, got in verdicts if label.kind == got.kind)
    claimed = Counter(got.kind for _, got in verdicts)
    true = Counter(label.kind for label, _ in verdicts)
    kinds = {kind: Rate(right[kind], claimed[kind], true[kind]) for kind in sorted({*claimed, *true})}
    wrong = [
        (label, got) for label, got in verdicts if (label.kind, label.expensive) != (got.kind, got.expensive)
    ]
    return answers, kinds, wrong


def over_all(rates: dict[str, Rate]) -> Rate:
    """Add the rates of all kinds up, each weighted with its number of steps."""
    return Rate(
        sum(rate.right for rate in rates.values()),
        sum(rate.claimed for rate in rates.values()),
        sum(rate.true for rate in rates.values()),
    )


def main() -> int:
    corpus = load_corpus()
    answers, kinds, wrong = measure(corpus)
    lines = [f"{len(corpus)} labelled RUN steps, {len(kinds)} kinds", ""]
    lines.append(f"{'':<22}{'precision':>10}{'recall':>8}{'steps':>7}")
    rows = [(f"expensive: {name}", rate) for name, rate in answers.items()]
    rows += [("kind, over all", over_all(kinds)), *kinds.items()]
    lines += [f"{name:<22}{rate.precision:>10.3f}{rate.recall:>8.3f}{rate.true:>7}" for name, rate in rows]
    for label, got in wrong:
        lines += ["", f"differs: {label.command!r}"]
        lines += [
            f"  label {label.kind} {label.expensive}, classifier {got.kind} {got.expensive}: {got.reason}"
        ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if min(rate for a in answers.values() for rate in (a.precision, a.recall)) < 0.98 else 0


if __name__ == "__main__":
    sys.exit(main())
