"""Small labelled projects that judge the doctor: the good ones are left in peace, the bad ones are found.

Run it to see precision and recall of each code, what was missed, and what was said without reason:

    PYTHONPATH=tests python -m support.doctor_corpus

The labels are a person's judgement. A file of `tests/doctor/corpus` holds many projects, each of this form:

    === bad NAME                        or good: nothing at all may be found
    One sentence about it.
    > CODE | START OF A LINE | fix      this has to be found, on that line of the Dockerfile, with a fix;
                                        `no fix` where none may be offered, nothing where both are right
    ? CODE                              may be found or not: people differ here
    after TEXT | READ, .. | SPARED, ..  once every fix is applied, an edit of READ reruns the RUN that holds
                                        TEXT, and an edit of SPARED does not
    builds [crlf]                       has to build with the stand-ins of the test engine
    --- PATH [size=BYTES]               a file; the one called Dockerfile is examined
    @@@ [AUTHOR]                        a commit on top of the files above, each line one edit of it:
    PATH | OLD TEXT | NEW TEXT

Where there are commits they are made with git, and the project is examined as the last one leaves it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from devloop.dockerfile.instructions import From
from devloop.doctor.edits import apply_edits
from devloop.doctor.examine import examine
from devloop.doctor.subject import read_subject
from devloop.planning import plan_edits
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from devloop.doctor.model import Finding, Subject

FOLDER = Path(__file__).parents[1] / "doctor" / "corpus"
_MOST_FIXES = 12
"""More proposals than any project here can need: a doctor that never comes to an end is stopped."""


@dataclass(frozen=True, slots=True)
class Label:
    """A finding that a person expects, with the line it has to cover."""

    code: str
    line: int
    fix: bool | None


@dataclass(frozen=True, slots=True)
class Afterwards:
    """What holds of a RUN, found by a part of its text, when all proposals are applied."""

    text: str
    reads: tuple[str, ...]
    spares: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """Edits that somebody committed: by path, a text that stands there once and what takes its place."""

    author: str
    edits: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Project:
    """One labelled project; `dockerfile` is the path of the file that is examined."""

    name: str
    is_good: bool
    about: str
    labels: tuple[Label, ...]
    either: frozenset[str]
    afterwards: tuple[Afterwards, ...]
    builds: bool
    dockerfile: str
    files: Mapping[str, bytes | int]
    commits: tuple[Commit, ...] = ()

    def write(self, folder: Path) -> Path:
        """Write the files of the project; programs are executable, and a size is a file full of holes."""
        self._write_files(folder)
        if self.commits:
            self._commit(folder)
        return folder

    def _commit(self, folder: Path) -> None:
        git = _Git(folder)
        git.run("init", "--quiet", "--initial-branch=main")
        git.commit(Commit(_PERSON, ()))
        for commit in self.commits:
            for path, old, new in commit.edits:
                text = (folder / path).read_text()
                if text.count(old) != 1:
                    raise ValueError(f"{self.name}: {path} holds {old!r} {text.count(old)} times")
                (folder / path).write_text(text.replace(old, new))
            git.commit(commit)

    def _write_files(self, folder: Path) -> None:
        for path, content in self.files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, int):
                with file.open("wb") as opened:
                    opened.truncate(content)
                continue
            file.write_bytes(content)
            file.chmod(0o755 if content.startswith(b"#!") else 0o644)


_PERSON = "Ada <ada@example.test>"


class _Git:
    """A repository in the folder of a project, with settings of nobody; commits are an hour apart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hours = 0

    def commit(self, commit: Commit) -> None:
        self._hours += 1
        self.run("add", "--all")
        edited = ", ".join(dict.fromkeys(path for path, _, _ in commit.edits))
        self.run("commit", "--quiet", "--message", edited or "begin", "--author", commit.author)

    def run(self, *words: str) -> None:
        date = f"{1_700_438_400 + 3600 * self._hours} +0000"
        person = {f"GIT_{role}_DATE": date for role in ("AUTHOR", "COMMITTER")}
        settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        name = ("-c", "user.name=Ada", "-c", "user.email=ada@example.test")
        subprocess.run(
            ["git", *name, *words],
            cwd=self._folder,
            env={**os.environ, **settings, **person},
            capture_output=True,
            check=True,
            timeout=60,
        )


@dataclass(slots=True)
class _Draft:
    name: str
    is_good: bool
    place: str
    about: list[str] = field(default_factory=list)
    labels: list[tuple[str, str, bool | None]] = field(default_factory=list)
    either: set[str] = field(default_factory=set)
    afterwards: list[Afterwards] = field(default_factory=list)
    builds: bool = False
    crlf: bool = False
    files: dict[str, list[str] | int] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)

    def header(self, line: str) -> None:
        if line.startswith("> "):
            code, text, *fix = (part.strip() for part in line[2:].split("|"))
            self.labels.append((code, text, {"fix": True, "no fix": False}.get("".join(fix))))
        elif line.startswith("? "):
            self.either.add(line[2:].strip())
        elif line.startswith("after "):
            text, reads, spares = (part.strip() for part in line.removeprefix("after ").split("|"))
            self.afterwards.append(Afterwards(text, _names(reads), _names(spares)))
        elif line in ("builds", "builds crlf"):
            self.builds, self.crlf = True, line.endswith("crlf")
        elif line:
            self.about.append(line)

    def finished(self) -> Project:
        files = {path: self._content(path, given) for path, given in self.files.items()}
        dockerfile = next(path for path in files if path.rpartition("/")[2] == "Dockerfile")
        source = files[dockerfile]
        assert isinstance(source, bytes)
        lines = source.decode().splitlines()
        labels = tuple(Label(code, self._line(lines, text), fix) for code, text, fix in self.labels)
        return Project(
            self.name,
            self.is_good,
            " ".join(self.about),
            labels,
            frozenset(self.either),
            tuple(self.afterwards),
            self.builds,
            dockerfile,
            files,
            tuple(self.commits),
        )

    def edit(self, line: str) -> None:
        """Read a line of the last commit."""
        path, old, new = line.split(" | ")
        commit = self.commits[-1]
        self.commits[-1] = Commit(commit.author, (*commit.edits, (path, old, new)))

    def _line(self, lines: Sequence[str], text: str) -> int:
        found = [number for number, line in enumerate(lines, 1) if line.startswith(text)]
        if len(found) != 1:
            raise ValueError(f"{self.place}: {len(found)} lines start with {text!r}")
        return found[0]

    def _content(self, path: str, given: list[str] | int) -> bytes | int:
        if isinstance(given, int):
            return given
        text = "\n".join(given).rstrip("\n")
        end = "\r\n" if self.crlf and path.endswith("Dockerfile") else "\n"
        return (text + "\n" if text else "").replace("\n", end).encode()


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.replace(",", " ").split() if name)


def load(folder: Path = FOLDER) -> tuple[Project, ...]:
    """Read all projects in the order of the texts; raises ValueError for a label without its line."""
    return tuple(
        draft.finished()
        for file in sorted(folder.glob("*.txt"))
        for draft in _drafts(file.name, file.read_text(encoding="utf-8"))
    )


def _drafts(file: str, text: str) -> Iterable[_Draft]:
    draft: _Draft | None = None
    content: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("=== "):
            if draft is not None:
                yield draft
            _, verdict, name = line.split()
            draft, content = _Draft(name, verdict == "good", f"{file}:{number} {name}"), None
        elif draft is None:
            continue
        elif line.startswith("--- "):
            path, _, size = line[4:].partition(" size=")
            content = []
            draft.files[path] = int(size) if size else content
        elif line == "@@@" or line.startswith("@@@ "):
            draft.commits.append(Commit(line[4:] or _PERSON, ()))
        elif draft.commits:
            if line:
                draft.edit(line)
        elif content is None:
            draft.header(line)
        else:
            content.append(line)
    if draft is not None:
        yield draft


class Patient:
    """A project on the disk whose Dockerfile can be examined, and changed by proposals."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project = project
        self.folder = project.write(folder)
        self.settings = Settings(file=project.dockerfile, context=".")
        self.location = locate(self.folder, self.settings)
        self.memory = Memory(self.location)

    def close(self) -> None:
        self.memory.close()

    def workspace(self) -> Workspace:
        return Workspace.remembered(self.location, self.settings, self.memory, {})

    def subject(self) -> Subject:
        return read_subject(self.workspace())

    def findings(self) -> tuple[Finding, ...]:
        """Return what the doctor says without an engine: a proposal that its own checks refuse is none."""
        return tuple(one.finding for one in examine(self.workspace()).findings)

    def apply(self, finding: Finding) -> None:
        assert finding.proposal is not None
        file = self.folder / self.project.dockerfile
        file.write_bytes(apply_edits(file.read_bytes(), finding.proposal.edits))
        for path, content in finding.proposal.files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(content)

    def reruns(self, path: str, text: str) -> bool:
        """Whether an edit of the path makes the RUN that holds the text run again."""
        plan = plan_edits(self.workspace(), [self.folder / path])
        steps = [step for step in plan.steps if text in step.text]
        assert steps, f"no step holds {text!r}"
        return any(step.status != "cached" for step in steps)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one project.

    `right` pairs each label that was found with a finding; `alarms` are findings that nobody expects, and
    `faults` says what is wrong with the proposals.
    """

    project: Project
    right: tuple[tuple[Label, Finding], ...]
    missed: tuple[Label, ...]
    alarms: tuple[Finding, ...]
    faults: tuple[str, ...]


def judge(project: Project, folder: Path) -> Verdict:
    """Examine a project in an empty folder, and then apply what is proposed until nothing is left."""
    patient = Patient(project, folder)
    try:
        findings = patient.findings()
        right = tuple(
            (label, finding) for label in project.labels for finding in findings if _agree(label, finding)
        )
        found = {label for label, _ in right}
        known = {id(finding) for _, finding in right}
        faults = [
            f"{label.code} on line {label.line}: {'no proposal' if label.fix else 'a proposal'}"
            for label in dict.fromkeys(label for label, _ in right)
            if label.fix is not None
            and label.fix != any(one.proposal is not None for other, one in right if other == label)
        ]
        return Verdict(
            project,
            right,
            tuple(label for label in project.labels if label not in found),
            tuple(
                finding
                for finding in findings
                if id(finding) not in known and finding.code not in project.either
            ),
            (*faults, *_treated(patient)),
        )
    finally:
        patient.close()


def _agree(label: Label, finding: Finding) -> bool:
    return label.code == finding.code and finding.first_line <= label.line <= finding.last_line


def _treated(patient: Patient) -> list[str]:
    """Apply one proposal after the other, look at each new text, and at the last one as a whole."""
    faults: list[str] = []
    for _ in range(_MOST_FIXES):
        before = patient.subject()
        findings = patient.findings()
        finding = next((one for one in findings if one.proposal is not None), None)
        if finding is None:
            return faults + _afterwards(patient)
        try:
            patient.apply(finding)
            after = patient.subject()
            left = patient.findings()
        except Exception as error:  # noqa: BLE001 - whatever a proposal breaks is a fault of the proposal
            return [*faults, f"{finding.code}: {type(error).__name__}: {error}"]
        faults += [f"{finding.code}: {text}" for text in _differences(before, after, finding)]
        codes, remaining = Counter(one.code for one in findings), Counter(one.code for one in left)
        if remaining[finding.code] >= codes[finding.code]:
            return [*faults, f"{finding.code}: its fix leaves it there, or makes another one"]
        made = remaining - codes
        if made:
            faults.append(f"{finding.code}: its fix makes {', '.join(sorted(made))}")
    return [*faults, "the proposals never come to an end"]


def _differences(before: Subject, after: Subject, finding: Finding) -> Iterable[str]:
    assert finding.proposal is not None
    old, new = before.source, after.source
    if old == new and not finding.proposal.files:
        yield "its proposal changes nothing"
    if not {"stage", "manifest"} & finding.proposal.intends and _stages(before) != _stages(after):
        yield "its fix changes the stages"
    if old.count(b"\r\n") == old.count(b"\n") != 0 and new.count(b"\r\n") != new.count(b"\n"):
        yield "its fix mixes line ends"
    comments = Counter(re.findall(rb"(?m)^[ \t]*#.*?\r?$", old))
    lost = comments - Counter(re.findall(rb"(?m)^[ \t]*#.*?\r?$", new))
    if lost:
        yield f"its fix loses a comment: {b' '.join(lost).decode(errors='replace')}"


def _stages(subject: Subject) -> list[str | None]:
    return [one.alias for one in subject.dockerfile.instructions if isinstance(one, From)]


def _afterwards(patient: Patient) -> list[str]:
    faults: list[str] = []
    for claim in patient.project.afterwards:
        try:
            faults += [
                f"after the fix an edit of {path} leaves {claim.text!r} cached"
                for path in claim.reads
                if not patient.reruns(path, claim.text)
            ]
            faults += [
                f"after the fix an edit of {path} still reruns {claim.text!r}"
                for path in claim.spares
                if patient.reruns(path, claim.text)
            ]
        except AssertionError as error:
            faults.append(f"after the fix {error}")
    return faults


@dataclass(frozen=True, slots=True)
class Rate:
    """Findings that are right, all that were made, and the labels that were found of all there are."""

    right: int
    claimed: int
    found: int
    true: int

    @property
    def precision(self) -> float:
        return self.right / self.claimed if self.claimed else 1.0

    @property
    def recall(self) -> float:
        return self.found / self.true if self.true else 1.0


def rates(verdicts: Sequence[Verdict]) -> dict[str, Rate]:
    """The rates of each code that a label or a finding has; what may be found or not counts for nobody."""
    right = Counter(finding.code for one in verdicts for finding in {id(f): f for _, f in one.right}.values())
    alarms = Counter(finding.code for one in verdicts for finding in one.alarms)
    found = Counter(label.code for one in verdicts for label in {label for label, _ in one.right})
    missed = Counter(label.code for one in verdicts for label in one.missed)
    return {
        code: Rate(right[code], right[code] + alarms[code], found[code], found[code] + missed[code])
        for code in sorted({*right, *alarms, *found, *missed})
    }


def total(given: Mapping[str, Rate]) -> Rate:
    return Rate(
        sum(rate.right for rate in given.values()),
        sum(rate.claimed for rate in given.values()),
        sum(rate.found for rate in given.values()),
        sum(rate.true for rate in given.values()),
    )


def judge_all(projects: Sequence[Project], folder: Path) -> tuple[Verdict, ...]:
    return tuple(judge(project, folder / f"{at}-{project.name}") for at, project in enumerate(projects))


def report(verdicts: Sequence[Verdict]) -> list[str]:
    """The table of rates, then each project where doctor and label differ."""
    good = [one for one in verdicts if one.project.is_good]
    by_code = rates(verdicts)
    offered = sum(1 for one in verdicts for _, finding in one.right if finding.proposal is not None)
    silent = sum(not one.alarms for one in good)
    lines = [
        f"{len(verdicts)} projects, {len(good)} of them good: {silent} are left in peace",
        f"{offered} proposals, {sum(len(one.faults) for one in verdicts)} faults in them",
        "",
        f"{'':<28}{'precision':>10}{'recall':>8}{'labels':>8}",
    ]
    lines += [
        f"{name:<28}{rate.precision:>10.3f}{rate.recall:>8.3f}{rate.true:>8}"
        for name, rate in [*by_code.items(), ("in total", total(by_code))]
    ]
    for one in verdicts:
        texts = [f"  without reason: {f.code}, line {f.first_line}: {f.title}" for f in one.alarms]
        texts += [f"  missed: {label.code}, line {label.line}" for label in one.missed]
        texts += [f"  proposal: {text}" for text in one.faults]
        if texts:
            lines += ["", f"{'good' if one.project.is_good else 'bad'} {one.project.name}", *texts]
    return lines


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="devloop-corpus-") as made:
        # What was measured on this machine would decide what is expensive.
        os.environ["DEVLOOP_STATE_DIR"] = f"{made}/state"
        verdicts = judge_all(load(), Path(made))
    sys.stdout.write("\n".join(report(verdicts)) + "\n")
    return 1 if any(one.alarms for one in verdicts if one.project.is_good) else 0


if __name__ == "__main__":
    sys.exit(main())
