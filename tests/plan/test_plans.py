"""Plans as text: a Dockerfile, what changed, and what devloop says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from devloop.plan.model import NeverRule, SyncRule
from support.built_project import Project, as_text, cause_at, statuses, step_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DOCKERFILE = """\
FROM python:3.12
WORKDIR /app
COPY requirements.txt .
RUN pip install -r requirements.txt
ENV MODE=dev
COPY main.py .
RUN echo $MODE
CMD ["python", "main.py"]
"""
FILES = {
    "requirements.txt": "flask\n",
    "main.py": "print(1)\n",
    "README.md": "Read me.\n",
    "notes/todo.txt": "",
    ".dockerignore": "# documents\n*.md\n",
}
ALL_CACHED = "1 FROM cached, 2 WORKDIR cached, 3 COPY cached, 4 RUN cached, 6 COPY cached, 7 RUN cached"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Project]:
    def _make(dockerfile: str = DOCKERFILE, files: dict[str, str] | None = None, **settings: Any) -> Project:  # noqa: ANN401
        return Project(tmp_path / "shop", dockerfile, FILES if files is None else files, **settings)

    return _make


@pytest.fixture
def shop(make: Callable[..., Project]) -> Project:
    """The example above, built."""
    return make().built()


# Nothing happens


def test_nothing_changed(shop: Project) -> None:
    plan = shop.plan()
    assert (plan.action, plan.seconds, plan.earliest) == ("none", 0.0, None)
    assert plan.reason == "nothing that the image is made of has changed"
    assert statuses(plan) == ALL_CACHED


def test_the_same_bytes_again_are_no_change(shop: Project) -> None:
    plan = shop.write("main.py", FILES["main.py"]).plan()
    assert (plan.action, plan.changes) == ("none", ())


def test_an_ignored_path_is_no_change(shop: Project) -> None:
    plan = shop.write("README.md", "Read more.\n").plan()
    assert (plan.action, plan.changes) == ("none", ())


def test_a_path_that_no_step_reads_is_no_change(shop: Project) -> None:
    plan = shop.write("notes/todo.txt", "sleep").plan()
    assert plan.action == "none"


def test_a_comment_in_the_dockerfile_changes_nothing(shop: Project) -> None:
    plan = shop.replace("Dockerfile", "WORKDIR", "# where it lives\nWORKDIR").plan()
    assert (plan.action, len(plan.runs)) == ("none", 0)


def test_without_cache_nothing_runs_as_long_as_nothing_is_to_be_built(shop: Project) -> None:
    plan = shop.set(no_cache=True).plan()
    assert (plan.action, statuses(plan)) == ("none", ALL_CACHED)


# Content


def test_a_changed_file_runs_the_step_that_reads_it_and_what_follows(shop: Project) -> None:
    plan = shop.write("main.py", "print(2)\n").plan()
    assert (
        as_text(plan)
        == """\
  changed  main.py
  reaches  -> COPY main.py . (line 6)
  costs    2 of 5 steps run again, about 0.6s in all (an estimate)
  action   rebuild: COPY (line 6) runs again: main.py changed, 1 more step may follow

  = 1  FROM python:3.12                            cached
  = 2  WORKDIR /app                         ~0.1s  cached
  = 3  COPY requirements.txt .              ~0.3s  cached
  = 4  RUN pip install -r requirements.txt   ~20s  cached
  > 6  COPY main.py .                       ~0.3s  runs
       main.py changed
  > 7  RUN echo $MODE                       ~0.3s  runs
       COPY (line 6) above it runs again"""
    )


def test_a_dependency_list_is_warned_about_before_anything_runs(shop: Project) -> None:
    text = as_text(shop.write("requirements.txt", "flask\nuvicorn\n").plan())
    shown, _, way_out = text.partition("    way out  ")
    assert "--mount=type=cache,target=/root/.cache/pip" in way_out
    assert (
        shown
        == """\
  changed  requirements.txt
  reaches  -> COPY requirements.txt . (line 3)
  costs    4 of 5 steps run again, about 21s in all (an estimate)
  action   rebuild: COPY (line 3) runs again: requirements.txt changed, 3 more steps may follow

  = 1  FROM python:3.12                            cached
  = 2  WORKDIR /app                         ~0.1s  cached
  > 3  COPY requirements.txt .              ~0.3s  runs
       requirements.txt changed
  > 4  RUN pip install -r requirements.txt   ~20s  runs, expensive
       COPY (line 3) above it runs again
  > 6  COPY main.py .                       ~0.3s  runs
       RUN (line 4) above it runs again
  > 7  RUN echo $MODE                       ~0.3s  runs
       COPY (line 6) above it runs again

  ! expensive step: RUN pip install -r requirements.txt (line 4)
    costs    about 20s (never built here) [dependency-install]
    why      requirements.txt is read by COPY (line 3), which stands above RUN (line 4); 2 steps
             after it run again too
    manifest dependencies added: uvicorn
"""
    )


def test_a_changed_mode_is_a_change(shop: Project) -> None:
    (shop.folder / "main.py").chmod(0o755)
    plan = shop.plan()
    assert [(change.path, change.kind) for change in plan.changes] == [("main.py", "metadata")]
    assert cause_at(plan, 6) == "content: main.py changed its mode"


def test_what_was_built_before_comes_back_from_the_cache(shop: Project) -> None:
    shop.write("main.py", "print(2)\n").built()
    plan = shop.write("main.py", FILES["main.py"]).plan()
    assert (plan.action, statuses(plan)) == ("rebuild", ALL_CACHED)
    assert plan.reason == "all steps are cached: an image that was built before comes back"


def test_a_file_that_is_gone_fails_its_step_and_is_said_to(shop: Project) -> None:
    plan = shop.remove("main.py").plan()
    assert plan.reason == "COPY (line 6) will fail: main.py is not in the build context"
    assert [(change.path, change.kind) for change in plan.changes] == [("main.py", "removed")]
    assert step_at(plan, 6).status == "run"


def test_many_changed_files_are_counted(make: Callable[..., Project]) -> None:
    files = {f"src/{name}.py": "" for name in "abc"}
    project = make("FROM scratch\nCOPY src /src\n", files).built()
    for path in files:
        project.write(path, "changed")
    assert cause_at(project.plan(), 2) == "content: src/a.py and 2 more changed"


def test_a_step_that_never_ran_on_a_result_is_not_said_to_follow_one_that_runs(shop: Project) -> None:
    """The build after the edit failed halfway: the install is cached, what follows was never built on it."""
    shop.write("requirements.txt", "django\n").built(failed_line=6)
    plan = shop.plan()
    assert step_at(plan, 4).status == "cached"
    assert cause_at(plan, 6) == (
        "stage: it was never built on what RUN (line 4) gives, where requirements.txt changed"
    )


def test_an_edit_whose_copy_alone_was_built_is_warned_about(shop: Project) -> None:
    """The build was canceled in the install: the COPY is cached, and what the edit costs is still to come."""
    shop.write("requirements.txt", "django\n").built(failed_line=4)
    plan = shop.plan()
    assert [step.line for step in plan.runs][:1] == [4]
    assert [(one.code, one.line) for one in plan.warnings] == [("dependency-install", 4)]
    assert plan.warnings[0].why.startswith("requirements.txt is read by COPY (line 3), which stands above")
    assert plan.expensive == (3,)


# The Dockerfile


def test_a_changed_command_is_the_cause(shop: Project) -> None:
    plan = shop.replace("Dockerfile", "pip install", "pip install -q").plan()
    assert cause_at(plan, 4) == "instruction: the command changed"
    assert plan.earliest == step_at(plan, 4)


def test_a_new_instruction_is_the_cause(shop: Project) -> None:
    plan = shop.replace("Dockerfile", "ENV MODE", "RUN mkdir /data\nENV MODE").plan()
    assert cause_at(plan, 5) == "instruction: the instruction is new"


def test_a_changed_destination_is_the_cause(shop: Project) -> None:
    plan = shop.replace("Dockerfile", "COPY main.py .", "COPY main.py start.py").plan()
    assert cause_at(plan, 6) == "instruction: its destination, owner or mode changed"


def test_a_changed_variable_is_named_with_its_line(shop: Project) -> None:
    plan = shop.replace("Dockerfile", "MODE=dev", "MODE=prod").plan()
    expected = "environment: the variable MODE (ENV, line 5) changed, and a RUN sees every variable above it"
    assert cause_at(plan, 7) == expected
    assert [step.line for step in plan.runs] == [7], "a COPY does not see variables"


def test_a_changed_build_argument_is_named_with_its_line(make: Callable[..., Project]) -> None:
    project = make("FROM scratch\nARG VERSION=1\nRUN make\n", {}).built()
    plan = project.set(build_arg={"VERSION": "2"}).plan()
    expected = "argument: the variable VERSION (ARG, line 2) changed, and a RUN sees every variable above it"
    assert cause_at(plan, 3) == expected


def test_a_build_argument_of_the_environment_counts(make: Callable[..., Project]) -> None:
    project = make("FROM scratch\nARG VERSION=1\nRUN make\n", {}, build_arg={"VERSION": None}).built()
    project.environ["VERSION"] = "2"
    assert project.plan().action == "rebuild"


def test_a_changed_command_of_the_image_runs_no_step(shop: Project) -> None:
    plan = shop.replace("Dockerfile", '"main.py"', '"-u", "main.py"').plan()
    assert (plan.action, plan.config_changed, statuses(plan)) == ("rebuild", True, ALL_CACHED)
    assert plan.reason == "all steps are cached, the image configuration changes: CMD"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("EXPOSE 8000", "EXPOSE"),
        ("LABEL a=1", "LABEL"),
        ("LABEL a=1 b=2", "LABEL"),
        ("USER app", "USER"),
        ("VOLUME /data", "VOLUME"),
        ('ENTRYPOINT ["sh"]', "ENTRYPOINT"),
        ("HEALTHCHECK CMD true", "HEALTHCHECK"),
        ("STOPSIGNAL SIGINT", "STOPSIGNAL"),
        ("ENV MODE=late", "ENV"),
    ],
)
def test_a_changed_configuration_is_named(shop: Project, line: str, named: str) -> None:
    plan = shop.write("Dockerfile", f"{DOCKERFILE}{line}\n").plan()
    assert plan.reason == f"all steps are cached, the image configuration changes: {named}"


def test_an_edit_of_the_ignore_file_that_lets_a_file_in_is_a_change(make: Callable[..., Project]) -> None:
    project = make("FROM scratch\nCOPY . /app\n").built()
    plan = project.write(".dockerignore", "nothing\n").plan()
    assert [(change.path, change.kind) for change in plan.changes] == [
        (".dockerignore", "modified"),
        ("README.md", "added"),
    ]


# Bases


def test_a_base_that_moved_is_the_cause(make: Callable[..., Project]) -> None:
    project = make().base("python:3.12", "layers:1").built().base("python:3.12", "layers:2")
    plan = project.plan()
    assert cause_at(plan, 2) == "base: the base image python:3.12 moved"
    assert [step.line for step in plan.runs] == [2, 3, 4, 6, 7]


def test_another_base_is_the_cause(shop: Project) -> None:
    plan = shop.replace("Dockerfile", "python:3.12", "python:3.13").plan()
    assert cause_at(plan, 2) == "base: its image is python:3.13 now"


def test_a_variable_of_the_base_is_not_looked_for_in_the_dockerfile(make: Callable[..., Project]) -> None:
    project = make().base("python:3.12").built().base("python:3.12", env=(("LEVEL", "1"),))
    plan = project.plan()
    assert cause_at(plan, 4) == "base: the base image's variable LEVEL changed, and a RUN sees every variable"
    assert [warned.code for warned in plan.warnings] == ["expensive-step"]


# Stages

STAGES = """\
FROM node:20 AS web
WORKDIR /web
COPY package.json .
RUN npm install
COPY src src
RUN npm run build
FROM python:3.12
COPY --from=web /web/dist /static
RUN echo done
FROM python:3.12 AS unused
RUN make
"""
STAGE_FILES = {"package.json": "{}", "src/app.js": "1"}


@pytest.fixture
def stages(make: Callable[..., Project]) -> Project:
    return make(STAGES.partition("FROM python:3.12 AS unused")[0], STAGE_FILES).built()


def test_what_copies_from_a_stage_that_runs_may_be_cached_all_the_same(stages: Project) -> None:
    plan = stages.write("src/app.js", "2").plan()
    assert [(step.line, step.status) for step in plan.runs] == [
        (5, "run"),
        (6, "run"),
        (8, "unknown"),
        (9, "unknown"),
    ]
    assert cause_at(plan, 8) == "stage: cached if RUN (line 6) writes the same files again"
    assert step_at(plan, 8).stage == "1"
    assert step_at(plan, 6).stage == "web"


def test_a_step_in_a_stage_counts_as_the_engine_counts(stages: Project) -> None:
    assert [(step.stage, step.ordinal) for step in stages.plan().steps if step.stage == "1"] == [
        ("1", 1),
        ("1", 2),
        ("1", 3),
    ]


def test_stages_that_the_target_does_not_need_do_not_appear(make: Callable[..., Project]) -> None:
    plan = make(STAGES, STAGE_FILES, target="web").built().plan()
    assert {step.stage for step in plan.steps} == {"web"}


# Warnings


def codes(project: Project) -> list[tuple[str, int]]:
    return [(warned.code, warned.line) for warned in project.plan().warnings]


def test_a_first_build_is_nobodys_edit_and_warns_of_nothing(make: Callable[..., Project]) -> None:
    plan = make().plan()
    assert (plan.action, plan.warnings) == ("rebuild", ())
    assert plan.reason == "WORKDIR (line 2) runs: it was never built here, 4 more steps may follow"


def test_sources_above_an_install_are_told_to_move(make: Callable[..., Project]) -> None:
    project = make("FROM python:3.12\nCOPY . /app\nRUN pip install -r /app/requirements.txt\n").built()
    [warned] = project.write("main.py", "print(2)\n").plan().warnings
    assert warned.code == "source-above-install"
    assert warned.why == "main.py is read by COPY (line 2), which stands above RUN (line 3)"
    assert "requirements.txt above line 3 and the rest below it" in warned.way_out


def test_a_mount_of_all_sources_for_an_install_is_told_to_shrink(make: Callable[..., Project]) -> None:
    run = "RUN --mount=type=bind,target=/src pip install -r /src/requirements.txt"
    project = make(f"FROM python:3.12\n{run}\n").built()
    [warned] = project.write("main.py", "print(2)\n").plan().warnings
    assert warned.why == "main.py is read by this instruction itself"
    assert warned.way_out.startswith("mount only ")


def test_a_compile_is_not_told_to_do_without_its_sources(make: Callable[..., Project]) -> None:
    project = make("FROM rust:1\nCOPY . /app\nRUN cargo build --release\n", {"main.rs": ""}).built()
    [warned] = project.write("main.rs", "fn main() {}").plan().warnings
    assert warned.code == "build-from-source"
    assert warned.way_out.startswith("compile the dependencies in a step of their own above the source")


def test_a_variable_above_an_expensive_step_is_told_to_move(make: Callable[..., Project]) -> None:
    project = make("FROM python:3.12\nARG COMMIT=1\nRUN pip install flask\n", {}).built()
    [warned] = project.set(build_arg={"COMMIT": "2"}).plan().warnings
    assert warned.code == "variable-above-step"
    assert warned.way_out == "declare it below line 3 if the command does not need it"


def test_an_edit_of_the_expensive_command_itself_does_not_stand_above_it(shop: Project) -> None:
    [warned] = shop.replace("Dockerfile", "pip install", "pip install -q").plan().warnings
    assert warned.code == "expensive-step"
    assert warned.why == "the command changed; 2 steps after it run again too"


def test_an_instruction_above_an_expensive_step_is_named(shop: Project) -> None:
    [warned] = shop.replace("Dockerfile", "requirements.txt .", "requirements.txt /tmp/").plan().warnings
    assert warned.why.startswith(
        "COPY (line 3) runs again (its destination, owner or mode changed) and stands above RUN (line 4)"
    )


def test_with_a_cache_mount_there_is_nothing_to_do(make: Callable[..., Project]) -> None:
    run = "RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt"
    project = make(f"FROM python:3.12\nCOPY requirements.txt .\n{run}\n").built()
    [warned] = project.write("requirements.txt", "django\n").plan().warnings
    assert warned.way_out.startswith("nothing to do: ")


@pytest.mark.parametrize(("seconds", "expected"), [(3.0, []), (8.0, [("dependency-install", 4)])])
def test_what_was_measured_decides_what_is_expensive(
    make: Callable[..., Project], seconds: float, expected: list[tuple[str, int]]
) -> None:
    assert codes(make().built({4: seconds}).write("requirements.txt", "django\n")) == expected


def test_the_threshold_is_the_users(make: Callable[..., Project]) -> None:
    project = make(warn_seconds=60.0).built({4: 40.0}).write("requirements.txt", "django\n")
    assert codes(project) == []
    assert codes(project.set(warn_seconds=30.0)) == [("dependency-install", 4)]


def test_a_code_can_be_silenced(shop: Project) -> None:
    shop.write("requirements.txt", "django\n")
    assert codes(shop.set(silence=["source-above-install"])) == [("dependency-install", 4)]
    assert codes(shop.set(silence=["dependency-install"])) == []


@pytest.mark.parametrize("at", ["RUN pip", "COPY requirements.txt", "FROM"])
def test_a_comment_silences_a_code_at_the_step_at_what_reaches_it_and_for_the_whole_file(
    shop: Project, at: str
) -> None:
    shop.replace("Dockerfile", at, f"# Devloop: ignore=dependency-install, other\n{at}")
    assert codes(shop.write("requirements.txt", "django\n")) == []


def test_a_comment_at_another_instruction_silences_nothing(shop: Project) -> None:
    shop.replace("Dockerfile", "COPY main.py", "# devloop: ignore=dependency-install\nCOPY main.py")
    assert codes(shop.write("requirements.txt", "django\n")) == [("dependency-install", 4)]


def test_a_comment_of_another_code_silences_nothing(shop: Project) -> None:
    shop.replace("Dockerfile", "RUN pip", "# devloop: ignore=expensive-step\nRUN pip")
    assert codes(shop.write("requirements.txt", "django\n")) == [("dependency-install", 5)]


# The weight of the context


@pytest.fixture
def heavy(make: Callable[..., Project]) -> Project:
    """An image that copies everything, beside a heavy repository."""
    files = {"main.py": "1", ".git/objects/pack": "", ".git/HEAD": ""}
    project = make("FROM a\nCOPY . .\nRUN echo\n", files)
    with (project.folder / ".git/objects/pack").open("wb") as file:
        file.truncate(60_000_000)
    return project


def test_a_heavy_context_is_told_with_the_lines_that_mend_it(heavy: Project) -> None:
    text = as_text(heavy.plan())
    assert (
        text[text.index("  ! heavy") :]
        == """\
  ! heavy context: COPY . . (line 2)
    costs    about 0.4s (to send 60 MB of 60 MB for nothing) [heavy-context]
    why      COPY (line 2) takes .git (60 MB, the history of the repository)
    way out  add to .dockerignore, each on a line of its own: .git"""
    )


def test_the_lines_are_for_the_ignore_file_that_counts(heavy: Project) -> None:
    heavy.write("Dockerfile.dockerignore", "*.md\n")
    [warned] = heavy.plan().warnings
    assert warned.way_out == "add to Dockerfile.dockerignore, each on a line of its own: .git"


def test_a_context_that_ignores_it_is_not_heavy(heavy: Project) -> None:
    assert heavy.write(".dockerignore", ".git\n").plan().warnings == ()


def test_what_no_step_reads_is_not_sent_and_weighs_nothing(heavy: Project) -> None:
    assert heavy.replace("Dockerfile", "COPY . .", "COPY main.py .").plan().warnings == ()


@pytest.mark.parametrize("is_comment", [True, False])
def test_a_heavy_context_can_be_silenced(heavy: Project, is_comment: bool) -> None:
    if is_comment:
        heavy.replace("Dockerfile", "COPY", "# devloop: ignore=heavy-context\nCOPY")
    else:
        heavy.set(silence=["heavy-context"])
    assert heavy.plan().warnings == ()


# Seconds


def test_measured_seconds_are_said_to_be_measured(make: Callable[..., Project]) -> None:
    project = make().built({2: 0.1, 3: 0.1, 4: 40.0, 6: 0.1, 7: 0.2}).write("requirements.txt", "django\n")
    plan = project.plan()
    assert plan.seconds == pytest.approx(40.4)
    assert (step_at(plan, 4).seconds, step_at(plan, 4).seconds_from) == (40.0, "measured")
    [warned] = plan.warnings
    assert (warned.seconds, warned.seconds_from, warned.note) == (40.0, "measured", "measured, 1 run")


def test_the_overhead_of_builds_like_this_one_is_part_of_the_price(make: Callable[..., Project]) -> None:
    project = make().built({2: 0.1, 3: 0.1, 4: 40.0, 6: 0.1, 7: 0.2}, overhead=3.0)
    project.write("main.py", "print(2)\n").built({6: 0.1, 7: 0.2}, overhead=0.5)
    assert project.write("main.py", "print(3)\n").plan().seconds == pytest.approx(0.8)
    assert project.write("requirements.txt", "django\n").plan().seconds == pytest.approx(40.4 + 3.0)


def test_stages_that_build_side_by_side_cost_what_the_longer_one_does(make: Callable[..., Project]) -> None:
    dockerfile = (
        "FROM a AS one\nCOPY one .\nRUN slow\nFROM a AS two\nCOPY two .\nRUN slower\n"
        "FROM a\nCOPY --from=one /o /o\nCOPY --from=two /t /t\n"
    )
    project = make(dockerfile, {"one": "1", "two": "1"})
    project.built({2: 0.5, 3: 20.0, 5: 0.5, 6: 30.0, 8: 1.0, 9: 1.0})
    plan = project.write("one", "2").write("two", "2").plan()
    assert plan.seconds == pytest.approx(31.5)


def test_a_changed_variable_does_not_forget_what_a_step_took(make: Callable[..., Project]) -> None:
    project = make("FROM python:3.12\nENV A=1\nRUN pip install flask\n", {}).built({3: 33.0})
    plan = project.replace("Dockerfile", "A=1", "A=2").plan()
    assert (step_at(plan, 3).seconds, step_at(plan, 3).seconds_from) == (33.0, "measured")


def test_stages_are_built_side_by_side_so_the_longest_way_counts(make: Callable[..., Project]) -> None:
    text = """\
FROM a AS one
COPY x .
RUN ./slow
FROM a AS two
COPY x .
RUN ./quick
FROM a
COPY --from=one /r /
COPY --from=two /r /
"""
    project = make(text, {"x": ""}).built({2: 0.0, 3: 30.0, 5: 0.0, 6: 20.0, 8: 1.0, 9: 1.0})
    assert project.write("x", "1").plan().seconds == pytest.approx(32.0)


def test_a_command_that_nobody_knows_has_no_price(make: Callable[..., Project]) -> None:
    project = make("FROM a\nCOPY x .\nRUN ./unheard-of\n", {"x": ""}).built()
    plan = project.write("x", "1").plan()
    assert (plan.seconds, step_at(plan, 3).seconds, step_at(plan, 3).seconds_from) == (None, None, None)


# Edits that nobody has made yet


def test_an_edit_is_planned_as_if_the_tree_had_been_built(make: Callable[..., Project]) -> None:
    plan = make(live_sync=False).edit("main.py")
    assert (plan.action, [step.line for step in plan.runs]) == ("rebuild", [6, 7])
    assert [(change.path, change.kind) for change in plan.changes] == [("main.py", "modified")]


def test_an_edit_that_can_be_synced_is_planned_as_a_sync(make: Callable[..., Project]) -> None:
    plan = make("FROM python:3.12\nCOPY main.py /app/\nCMD python /app/main.py\n").edit("main.py")
    assert plan.action == "sync+restart"
    assert plan.warnings == ()


def test_the_users_rules_go_before_the_proof_in_a_plan_as_they_do_in_a_session(
    make: Callable[..., Project],
) -> None:
    text = "FROM python:3.12\nCOPY . /app/\nRUN make /app\n"
    assert make(text).edit("main.py").action == "rebuild"
    plan = make(text, sync=[SyncRule("main.py", "/app/main.py", restart=False)]).edit("main.py")
    assert (plan.action, plan.reason) == (
        "sync",
        "your rule syncs main.py to /app/main.py; your rule takes it up",
    )
    simple = "FROM python:3.12\nCOPY . /app/\nCMD python /app/main.py\n"
    assert make(simple).edit("main.py").action == "sync+restart"
    plan = make(simple, never=[NeverRule("main.py")]).edit("main.py")
    assert plan.action == "rebuild"
    assert plan.reason.endswith("no sync, since your rule never syncs main.py")


@pytest.mark.parametrize(("action", "planned"), [("sync", "sync"), ("sync+restart", "sync+restart")])
def test_the_rules_of_a_compose_file_are_followed_in_a_plan_as_they_are_in_a_session(
    make: Callable[..., Project], monkeypatch: pytest.MonkeyPatch, action: str, planned: str
) -> None:
    compose = {"compose.yaml": "services: {web: {build: ., develop: {}}}\n"}
    project = make("FROM python:3.12\nCOPY . /app/\nRUN make /app\n", {**FILES, **compose})
    context = str(project.folder)
    rule = {"path": "main.py", "action": action, "target": "/app/main.py"}
    services = {"web": {"build": {"context": context}, "develop": {"watch": [rule]}}}
    monkeypatch.setattr("devloop.engine.compose.read_services", lambda *_: services)
    assert project.edit("main.py").action == planned
    assert project.edit("README.md", "requirements.txt").action == "rebuild"
    monkeypatch.setattr("devloop.engine.compose.read_services", lambda *_: None)
    assert project.edit("main.py").action == "rebuild"


def test_a_file_that_is_not_there_yet_would_be_added(make: Callable[..., Project]) -> None:
    plan = make("FROM scratch\nCOPY . /app\n", live_sync=False).edit("new.py")
    assert [(change.path, change.kind) for change in plan.changes] == [("new.py", "added")]
    assert cause_at(plan, 2) == "content: new.py was added"


def test_an_edit_of_a_folder_is_an_edit_of_everything_in_it(make: Callable[..., Project]) -> None:
    plan = make("FROM scratch\nCOPY notes /notes\n", {"notes/a": "", "notes/b/c": ""}).edit("notes")
    assert [change.path for change in plan.changes] == ["notes/a", "notes/b/c"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("README.md", "README.md is ignored by .dockerignore:2 (*.md)"),
        ("../elsewhere.txt", "elsewhere.txt is outside of the build context"),
        ("Dockerfile", "what an edit of Dockerfile does depends on the new text"),
        (".dockerignore", "what an edit of .dockerignore does depends on the new text"),
        ("Dockerfile.dockerignore", "what an edit of Dockerfile.dockerignore does depends on the new text"),
    ],
)
def test_an_edit_that_no_build_reads_as_content_says_why(
    make: Callable[..., Project], path: str, expected: str
) -> None:
    plan = make().edit(path)
    assert (plan.action, plan.reason) == ("none", "no build sees what was named")
    [why] = plan.ignored
    assert expected in why


def test_an_edit_of_a_path_that_no_step_reads_says_so(make: Callable[..., Project]) -> None:
    plan = make().edit("notes/todo.txt")
    assert plan.reason == "no step of the target reads notes/todo.txt"


def test_an_edit_behind_a_link_reaches_the_step_that_copies_the_link(make: Callable[..., Project]) -> None:
    project = make("FROM scratch\nCOPY current /app/\n", {"v1/main.py": ""}, live_sync=False)
    (project.folder / "current").symlink_to("v1")
    assert step_at(project.edit("v1/main.py"), 2).status == "run"


def test_a_larger_edit_never_runs_less(make: Callable[..., Project]) -> None:
    project = make()
    small = {step.line for step in project.edit("main.py").runs}
    large = {step.line for step in project.edit("main.py", "requirements.txt").runs}
    assert small < large
