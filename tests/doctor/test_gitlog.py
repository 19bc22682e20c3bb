"""git's history as it is read: who committed, what changed, and which versions of the build's files stood."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from devloop.doctor.gitlog import (
    Git,
    GitProblem,
    GraphsInHistory,
    history_of,
    links_at,
    reading,
    replay_graph,
)
from devloop.doctor.replay import FileChange, Replay, fixed, replay, step_totals
from devloop.planning import read_model
from devloop.project.settings import Settings
from support.history import DAY, MONDAY, Repository

DOCKERFILE = "FROM scratch\nCOPY list .\nRUN install\nCOPY src src\n"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository.new(tmp_path / "project")
    made.commit({"Dockerfile": DOCKERFILE, "list": "1", "src/a": "1", "README": "1"})
    return made


def changes(repository: Repository, folder: str = ".") -> list[list[tuple[str, str]]]:
    """Return what each commit of the history changes, the newest first."""
    found = history_of(repository.workspace(folder).location, repository.environ)
    return [[(change.path, change.kind) for change in commit.changes] for commit in found]


def replayed(repository: Repository, folder: str = ".", settings: Settings | None = None) -> Replay:
    workspace = repository.workspace(folder, settings)
    with reading(workspace.location, repository.environ) as found:
        links = links_at(found.git, found.objects, "HEAD")
        return replay(found, GraphsInHistory(workspace, found, links).of, found.paths_at)


def runs(found: Replay) -> dict[str, int]:
    return {step.name.text: step.runs for step in step_totals(found) if step.line is not None}


# Commits


def test_a_commit_says_who_changed_what_and_when(repository: Repository) -> None:
    repository.commit({"src/a": "2", "src/b": "1", "README": None}, author="Bert Ünal <bert@example.com>")
    commit = history_of(repository.workspace().location, repository.environ)[0]
    assert commit.changes == (
        FileChange("README", "removed"),
        FileChange("src/a", "modified"),
        FileChange("src/b", "added"),
    )
    assert commit.author == "Bert Ünal"
    assert commit.subject == "README, src/a, src/b"
    assert commit.at == MONDAY + 2 * 3600
    assert commit.id == repository.git("rev-parse", "HEAD")
    assert commit.parent == repository.git("rev-parse", "HEAD^")


def test_names_that_git_would_quote_come_as_they_are(repository: Repository) -> None:
    odd = [":colon", "new\nline", "tab\t", 'quote"', "ümlaut", "\x1esign", " blank "]
    repository.commit(dict.fromkeys(odd, "x"))
    assert sorted(path for path, _ in changes(repository)[0]) == sorted(odd)


def test_a_rename_is_a_path_that_goes_and_one_that_comes(repository: Repository) -> None:
    (repository.root / "src" / "a").rename(repository.root / "src" / "z")
    repository.commit({})
    assert changes(repository)[0] == [("src/a", "removed"), ("src/z", "added")]


def test_a_changed_mode_is_a_change(repository: Repository) -> None:
    (repository.root / "src" / "a").chmod(0o755)
    repository.commit({})
    assert changes(repository)[0] == [("src/a", "modified")]


def test_a_commit_without_changes_has_none(repository: Repository) -> None:
    repository.commit({})
    assert changes(repository)[0] == []


def test_merges_and_bots_are_left_out_and_counted(repository: Repository) -> None:
    repository.git("checkout", "-q", "-b", "side")
    repository.commit({"src/side": "1"})
    repository.git("checkout", "-q", "main")
    repository.commit({"src/main": "1"})
    repository.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    repository.commit(
        {"list": "2"}, author="dependabot[bot] <49699333+dependabot[bot]@users.noreply.github.com>"
    )
    repository.commit({"list": "3"}, author="Renovate Bot <bot@renovateapp.com>")
    with reading(repository.workspace().location, repository.environ) as found:
        commits = list(found)
    assert [commit.subject for commit in commits] == [
        "src/main",
        "src/side",
        "Dockerfile, README, list, src/a",
    ]
    assert (found.human, found.merges, found.by_bots) == (3, 1, 2)


def test_whose_commits_are_left_out_can_be_said(repository: Repository) -> None:
    repository.commit({"list": "2"}, author="Release Machine <release@example.com>")
    repository.commit({"list": "3"}, author="Abbott <abbott@example.com>")
    location = repository.workspace().location
    assert len(history_of(location, repository.environ, bots=["release MACHINE"])) == 2
    assert len(history_of(location, repository.environ, bots=[])) == 3


def test_the_limit_counts_commits_of_people(repository: Repository) -> None:
    for number in range(4):
        repository.commit({"list": f"{number}"}, author="x[bot] <x>" if number % 2 else None)
    found = history_of(repository.workspace().location, repository.environ, limit=2)
    assert [commit.subject for commit in found] == ["list", "list"]
    assert [commit.at for commit in found] == [MONDAY + 4 * 3600, MONDAY + 2 * 3600]


def test_since_leaves_out_a_commit_and_what_was_before_it(repository: Repository) -> None:
    start = repository.commit({"src/a": "2"})
    repository.commit({"src/a": "3"})
    with reading(repository.workspace().location, repository.environ, since=start) as found:
        assert found.count() == 1
        assert [commit.parent for commit in found] == [start]


def test_a_detached_head_has_the_history_that_leads_to_it(repository: Repository) -> None:
    middle = repository.commit({"src/a": "2"})
    repository.commit({"src/a": "3"})
    repository.git("checkout", "-q", middle)
    assert history_of(repository.workspace().location, repository.environ)[0].id == middle


def test_a_work_tree_of_its_own_has_its_history(repository: Repository, tmp_path: Path) -> None:
    repository.git("worktree", "add", "-q", "-b", "other", str(tmp_path / "other"))
    other = Repository(tmp_path / "other", repository.at, repository.environ)
    newest = other.commit({"src/a": "9"})
    assert history_of(other.workspace().location, other.environ)[0].id == newest


# The graph of each tree


def test_a_history_with_a_known_answer_gives_it(repository: Repository) -> None:
    repository.commit({"src/a": "2"})
    repository.commit({"list": "2"})
    repository.commit({"README": "2"})
    found = replayed(repository)
    assert runs(found) == {"COPY list .": 1, "RUN install": 1, "COPY src src": 2}
    assert (found.commits, found.unreadable, len(found.builds)) == (3, 1, 2)


def test_the_dockerfile_is_the_one_of_each_commits_own_tree(repository: Repository) -> None:
    """`COPY . .` above the install in the middle of the history: then the README runs it."""
    repository.commit({"README": "2"})
    repository.commit({"Dockerfile": "FROM scratch\nCOPY . .\nRUN install\n"})
    repository.commit({"README": "3"})
    repository.commit({"README": "4"})
    repository.commit({"Dockerfile": DOCKERFILE})
    repository.commit({"README": "5"})
    found = replayed(repository)
    assert [len(build.ran) for build in found.builds] == [3, 2, 2, 2]
    assert runs(found) == {"COPY list .": 1, "RUN install": 4, "COPY src src": 1}


def test_an_ignore_file_that_changes_counts_for_what_it_lets_in(repository: Repository) -> None:
    repository.commit({"Dockerfile": "FROM scratch\nCOPY src src\n"})
    repository.commit({".dockerignore": "**/*.log\n"})
    repository.commit({"src/x.log": "1"})
    repository.commit({".dockerignore": "# nothing\nsrc/y\n"})
    repository.commit({"src/y": "1"})
    repository.commit({"src/x.log": "2"})
    found = replayed(repository)
    kinds = [[cause.kind for cause in build.causes] for build in found.builds]
    assert kinds == [["path"], ["ignore"], ["instruction"]]
    assert runs(found) == {"COPY src src": 3}


def test_the_dockerfiles_own_ignore_file_wins_from_the_commit_on_that_brings_it(
    repository: Repository,
) -> None:
    repository.commit({"Dockerfile": "FROM scratch\nCOPY src src\n", ".dockerignore": "src/a\n"})
    repository.commit({"src/a": "2"})
    repository.commit({"Dockerfile.dockerignore": ""})
    repository.commit({"src/a": "3"})
    found = replayed(repository)
    kinds = [[cause.kind for cause in build.causes] for build in found.builds]
    assert kinds == [["path"], ["ignore"], ["instruction", "ignore"]]


def test_a_context_in_a_folder_of_the_repository_sees_that_folder(tmp_path: Path) -> None:
    made = Repository.new(tmp_path / "mono")
    made.commit({"web/Dockerfile": "FROM scratch\nCOPY . .\n", "web/a": "1", "api/a": "1", "a": "1"})
    made.commit({"api/a": "2", "a": "2"})
    made.commit({"web/a": "2"})
    found = replayed(made, "web")
    assert [build.causes[0].path for build in found.builds] == ["a"]
    assert found.commits == 2


def test_a_context_above_the_dockerfiles_folder_sees_the_whole(tmp_path: Path) -> None:
    made = Repository.new(tmp_path / "mono")
    made.commit({"web/Dockerfile": "FROM scratch\nCOPY shared shared\n", "shared/a": "1"})
    made.commit({"shared/a": "2"})
    found = replayed(made, "web", Settings(context=".."))
    assert [build.causes[0].path for build in found.builds] == ["shared/a"]


def test_a_repository_below_the_context_has_its_paths_there(tmp_path: Path) -> None:
    inner = Repository.new(tmp_path / "outer" / "inner")
    inner.commit({"Dockerfile": "FROM scratch\nCOPY inner/src src\n", "src/a": "1"})
    inner.commit({"src/a": "2"})
    found = replayed(inner, ".", Settings(context=".."))
    assert [build.causes[0].path for build in found.builds] == ["inner/src/a"]


def test_a_link_in_the_tree_leads_to_what_it_points_at(repository: Repository) -> None:
    (repository.root / "current").symlink_to("versions/2")
    repository.commit({"Dockerfile": "FROM scratch\nCOPY current /c\n", "versions/2/a": "1"})
    repository.commit({"versions/2/a": "2"})
    repository.commit({"versions/1/a": "2"})
    found = replayed(repository)
    assert [{cause.path for cause in build.causes} for build in found.builds] == [
        {"versions/2/a"},
        {"current", "versions/2/a", "Dockerfile"},
    ]


def test_a_submodule_that_moves_runs_what_takes_it(repository: Repository, tmp_path: Path) -> None:
    library = Repository.new(tmp_path / "library")
    library.commit({"code": "1"})
    repository.git("submodule", "add", "-q", str(library.root), "vendor")
    repository.commit({"Dockerfile": "FROM scratch\nCOPY vendor/code .\nCOPY src src\n"})
    newest = library.commit({"code": "2"})
    repository.git("-C", "vendor", "fetch", "-q", str(library.root), "main")
    repository.git("-C", "vendor", "checkout", "-q", newest)
    repository.commit({})
    assert changes(repository)[0] == [("vendor", "modified")]
    found = replayed(repository)
    assert [{cause.path for cause in build.causes} for build in found.builds] == [
        {"vendor"},
        {"vendor", "Dockerfile"},
    ]


def test_a_side_branch_counts_against_its_own_parent(repository: Repository) -> None:
    """The side branch began before the Dockerfile changed, so that its commit goes through the older one."""
    repository.git("checkout", "-q", "-b", "side")
    repository.git("checkout", "-q", "main")
    repository.commit({"Dockerfile": "FROM scratch\nCOPY README .\n"})
    repository.git("checkout", "-q", "side")
    repository.commit({"README": "side"})
    repository.git("checkout", "-q", "main")
    repository.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    repository.commit({"README": "main"})
    found = replayed(repository)
    assert [(build.commit.subject, len(build.ran)) for build in found.builds] == [
        ("README", 1),
        ("Dockerfile", 1),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_versions_of_the_builds_files_are_those_of_each_tree(tmp_path: Path, seed: int) -> None:
    """Branches that come and go, and edits of the three files on all of them."""
    chance = random.Random(seed)
    made = Repository.new(tmp_path / "tangled")
    made.commit({"Dockerfile": DOCKERFILE, "src/a": "1"})
    files = ["Dockerfile", "Dockerfile.dockerignore", ".dockerignore", "src/a"]
    for number in range(24):
        existing = made.git("branch", "--format=%(refname:short)").split()
        made.git("checkout", "-q", chance.choice(existing))
        if chance.random() < 0.3:
            made.git("checkout", "-q", "-b", f"side{number}")
        if chance.random() < 0.3:
            # The tree of a merge is the one of its second parent, which its first parent's does not tell.
            other = made.git("rev-parse", chance.choice(existing))
            made.at += 3600
            made.git("merge", "-q", "--no-ff", "-s", "ours", "-m", "merge", other)
            made.git("read-tree", "-u", "--reset", other)
            made.git("commit", "-q", "--amend", "--no-edit", "--allow-empty")
            continue
        path = chance.choice(files)
        is_there = (made.root / path).exists()
        made.commit({path: None if is_there and chance.random() < 0.3 else f"# {number}\n{DOCKERFILE}"})
    made.git("checkout", "-q", "main")
    for other in made.git("branch", "--format=%(refname:short)").split():
        made.at += 3600
        made.git("merge", "-q", "-s", "ours", "-m", "merge", other)
    (made.root / "Dockerfile").write_text(DOCKERFILE)
    with reading(made.workspace().location, made.environ) as found:
        commits = list(found)
        expected = [
            (found.versions(one.parent) if one.parent else (None,) * 3, found.versions(one.id))
            for one in commits
        ]
    assert [(one.files_before, one.files_after) for one in commits] == expected
    assert len({versions for pair in expected for versions in pair}) > 4


def test_a_broken_dockerfile_in_the_history_is_counted_and_nothing_else(repository: Repository) -> None:
    repository.commit({"Dockerfile": "FORM scratch\n"})
    repository.commit({"src/a": "2"})
    repository.commit({"Dockerfile": DOCKERFILE})
    repository.commit({"src/a": "3"})
    found = replayed(repository)
    assert (found.commits, found.unreadable) == (1, 4)


def test_a_dockerfile_that_is_new_in_the_work_tree_can_be_replayed_as_it_stands(tmp_path: Path) -> None:
    made = Repository.new(tmp_path / "project")
    for number in range(3):
        made.commit({"src/a": f"{number}"})
    (made.root / "Dockerfile").write_text(DOCKERFILE)
    workspace = made.workspace()
    graph = replay_graph(workspace, read_model(workspace))
    found = replay(history_of(workspace.location, made.environ), fixed(graph))
    assert runs(found) == {"COPY list .": 0, "RUN install": 0, "COPY src src": 2}


def test_nothing_of_the_work_tree_or_the_index_is_read_or_touched(repository: Repository) -> None:
    repository.commit({"src/a": "2"})
    (repository.root / "src" / "a").write_text("not committed")
    (repository.root / "list").write_text("staged")
    repository.git("add", "list")
    index = (repository.root / ".git" / "index").read_bytes()
    assert runs(replayed(repository)) == {"COPY list .": 0, "RUN install": 0, "COPY src src": 1}
    assert (repository.root / ".git" / "index").read_bytes() == index


# What stands in the way


def test_a_shallow_clone_says_so_and_its_oldest_commit_begins_it(
    repository: Repository, tmp_path: Path
) -> None:
    for number in range(4):
        repository.commit({"src/a": f"{number} of 4"})
    repository.git("clone", "-q", "--depth", "2", f"file://{repository.root}", str(tmp_path / "clone"))
    clone = Repository(tmp_path / "clone", environ=repository.environ)
    found = replayed(clone)
    assert (found.commits, found.unreadable) == (1, 1)
    assert Git.of(clone.workspace().location, clone.environ).is_shallow()
    assert not Git.of(repository.workspace().location, repository.environ).is_shallow()


def test_a_folder_without_a_repository_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    made = Repository(tmp_path)
    location = made.workspace().location
    if location.git_root is not None:  # a test folder below a repository would be no case
        pytest.fail(f"{tmp_path} is in a repository")
    with pytest.raises(GitProblem, match="is in no git repository"):
        history_of(location, {})


def test_a_machine_without_git_is_a_problem(repository: Repository, tmp_path: Path) -> None:
    environ = {**repository.environ, "PATH": str(tmp_path)}
    with pytest.raises(GitProblem, match="git is not installed"):
        history_of(repository.workspace().location, environ)


def test_a_repository_without_commits_is_a_problem(tmp_path: Path) -> None:
    made = Repository.new(tmp_path / "empty")
    (made.root / "Dockerfile").write_text(DOCKERFILE)
    with pytest.raises(GitProblem, match="no commits yet"):
        history_of(made.workspace().location, made.environ)


@pytest.mark.parametrize("revision", ["nonsense", "--output=x", "HEAD~99", ""])
def test_an_unknown_revision_is_a_problem(repository: Repository, revision: str) -> None:
    with (
        reading(repository.workspace().location, repository.environ, since=revision) as found,
        pytest.raises(GitProblem, match="git knows no commit"),
    ):
        list(found)


def test_a_broken_repository_says_what_git_says(repository: Repository) -> None:
    (repository.root / ".git" / "HEAD").write_text("nonsense")
    with pytest.raises(GitProblem, match="git: not a git repository"):
        history_of(repository.workspace().location, repository.environ)


def test_histories_that_never_met_have_no_base(repository: Repository) -> None:
    repository.git("checkout", "-q", "--orphan", "other")
    repository.commit({"other": "1"}, after=DAY)
    git = Git.of(repository.workspace().location, repository.environ)
    with pytest.raises(GitProblem, match="no commit in common"):
        git.merge_base("main", "HEAD")


def test_no_process_is_left_behind(repository: Repository) -> None:
    for number in range(3):
        repository.commit({"src/a": f"{number}!"})
    with reading(repository.workspace().location, repository.environ, limit=1) as found:
        assert len(list(found)) == 1
    running = [process.name for process in Path("/proc").glob("[0-9]*") if is_about(process, repository.root)]
    assert running == []


def is_about(process: Path, folder: Path) -> bool:
    try:
        return str(folder).encode() in (process / "cmdline").read_bytes()
    except OSError:  # it has just ended
        return False
