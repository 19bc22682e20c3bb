"""What can be synced: a Dockerfile and a change on one side, writes, removals or the step in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from devloop.context.snapshot import Directory, Entry, Snapshot, Unreadable, diff
from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.stages import BuildGraph, BuildOptions, ImageConfig, Platform, resolve
from devloop.plan.model import PathChange
from devloop.plan.sync import Blocked, FileKind, Surroundings, SyncPlan, SyncWrite, prove_sync

if TYPE_CHECKING:
    from collections.abc import Mapping

TREE = {
    "app.py": "one",
    "go.mod": "one",
    "main.go": "one",
    "readme.md": "one",
    "src/a.py": "one",
    "src/b.py": "one",
    "src/lib/c.py": "one",
    "static/app.css": "one",
    "static/img/logo.svg": "one",
}
"""The tree of every test, text by path; what is changed is said on top of it."""


def entries(tree: Mapping[str, str | Entry | None]) -> dict[str, Entry]:
    """A plain text is a file, `-> target` a link, `dir` a directory."""
    found: dict[str, Entry] = {}
    for path, what in tree.items():
        if isinstance(what, Entry):
            found[path] = what
        elif what == "dir":
            found[path] = Entry("directory", 0o755, "", 0)
        elif what is not None and what.startswith("-> "):
            found[path] = Entry("link", 0o777, what[3:], 0)
        elif what is not None:
            found[path] = Entry("file", 0o644, what, 3)
    return found


def graph_of(dockerfile: str, options: BuildOptions | None = None) -> BuildGraph:
    parsed = parse(dockerfile.encode())
    assert isinstance(parsed, Dockerfile)
    graph = resolve(parsed, options, images)
    assert isinstance(graph, BuildGraph)
    return graph


def images(reference: str, _platform: Platform) -> ImageConfig | None:
    return ImageConfig(f"sha256:{reference}")


def prove(
    dockerfile: str,
    changed: Mapping[str, str | Entry | None],
    *,
    tree: Mapping[str, str | Entry | None] | None = None,
    around: Surroundings | None = None,
    options: BuildOptions | None = None,
) -> SyncPlan | Blocked:
    """The proof for a tree in which some paths became something else, None being gone."""
    before = Snapshot.of(entries({**TREE, **(tree or {})}))
    after = Snapshot.of(entries({**TREE, **(tree or {}), **changed}))
    changes = {"": [PathChange(one.path, one.kind) for one in diff(before, after)]}
    graph = graph_of(dockerfile, options)
    return prove_sync(graph, {"": before}, {"": after}, changes, around or Surroundings())


def plan(dockerfile: str, changed: Mapping[str, str | Entry | None], **options: Any) -> SyncPlan:  # noqa: ANN401 - as `prove` has them
    found = prove(dockerfile, changed, **options)
    assert isinstance(found, SyncPlan), found
    return found


def blocked(dockerfile: str, changed: Mapping[str, str | Entry | None], **options: Any) -> Blocked:  # noqa: ANN401 - as `prove` has them
    found = prove(dockerfile, changed, **options)
    assert isinstance(found, Blocked), found
    return found


def written(found: SyncPlan) -> list[str]:
    return [one.path for one in found.writes]


def container(**kinds: FileKind) -> Surroundings:
    """A container that has these kinds of things; a name's double underscore stands for a slash."""
    known = {"/" + name.replace("__", "/"): kind for name, kind in kinds.items()}
    return Surroundings(kind_at=known.get)


# Where a COPY puts what it takes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("copy", "changed", "place"),
    [
        ("COPY . .", "src/a.py", "/app/src/a.py"),
        ("COPY . ./", "src/a.py", "/app/src/a.py"),
        ("COPY . /srv", "src/a.py", "/srv/src/a.py"),
        ("COPY src lib", "src/lib/c.py", "/app/lib/lib/c.py"),
        ("COPY src/ /lib/", "src/a.py", "/lib/a.py"),
        ("COPY ./src/lib/ deep/", "src/lib/c.py", "/app/deep/c.py"),
        ("COPY app.py .", "app.py", "/app/app.py"),
        ("COPY app.py main.py", "app.py", "/app/main.py"),
        ("COPY app.py /opt/", "app.py", "/opt/app.py"),
        ("COPY app.py src static ./", "src/a.py", "/app/a.py"),
        ("COPY app.py src static ./", "app.py", "/app/app.py"),
        ("COPY *.py ./", "app.py", "/app/app.py"),
        ("COPY s* ./", "src/lib/c.py", "/app/lib/c.py"),
        ("COPY */lib /x/", "src/lib/c.py", "/x/c.py"),
        ("COPY src/[ab].py /x/", "src/a.py", "/x/a.py"),
        ("COPY --exclude=*.md . .", "app.py", "/app/app.py"),
        ("COPY --parents src/lib /x/", "src/lib/c.py", "/x/src/lib/c.py"),
        ("COPY --parents src/./lib /x/", "src/lib/c.py", "/x/lib/c.py"),
        ("ADD src /x/", "src/a.py", "/x/a.py"),
        ("ADD app.py /x/", "app.py", "/x/app.py"),
        ("COPY --link src /x/", "src/a.py", "/x/a.py"),
    ],
)
def test_the_place_is_computed_as_the_builder_does(copy: str, changed: str, place: str) -> None:
    found = plan(f"FROM base\nWORKDIR /app\n{copy}\n", {changed: "two"})
    assert found == SyncPlan((SyncWrite(place, "file", 0o644, "", changed, digest="two"),), (), found.reason)
    assert (
        found.reason == f"only {copy.partition(' ')[0]} (line 3) reads it, and nothing that runs comes after"
    )


def test_a_destination_that_is_a_directory_in_the_image_takes_the_file_in() -> None:
    found = plan("FROM base\nCOPY app.py /opt\n", {"app.py": "two"}, around=container(opt="directory"))
    assert written(found) == ["/opt/app.py"]


def test_a_destination_that_is_a_link_in_the_image_is_refused() -> None:
    found = blocked("FROM base\nCOPY app.py /opt\n", {"app.py": "two"}, around=container(opt="link"))
    assert found == Blocked("/opt, where COPY (line 2) copies to, is a link", 2)


@pytest.mark.parametrize("copy", ["COPY src /opt/x", "COPY src /opt/x/", "COPY src/a.py /opt/x/"])
def test_a_way_through_a_link_of_the_image_is_refused(copy: str) -> None:
    found = blocked(f"FROM base\n{copy}\n", {"src/a.py": "two"}, around=container(opt="link"))
    assert found.reason == "/opt in the container is no directory of its own"


def test_modes_and_owners_are_those_of_the_instruction_else_those_of_the_file() -> None:
    copies = "COPY --chmod=750 --chown=app:staff app.py /a\nCOPY app.py /b\nCOPY --chmod=0 app.py /c\n"
    found = plan(f"FROM base\n{copies}", {"app.py": Entry("file", 0o4711, "two", 3)})
    assert [(one.mode, one.owner) for one in found.writes] == [
        (0o750, "app:staff"),
        (0o4711, None),
        (0, None),
    ]


def test_variables_in_owner_and_mode_are_expanded() -> None:
    dockerfile = "FROM base\nARG UID=12\nARG MODE=600\nCOPY --chown=$UID:34 --chmod=$MODE app.py /a\n"
    [one] = plan(dockerfile, {"app.py": "two"}).writes
    assert (one.mode, one.owner) == (0o600, "12:34")


def test_a_mode_in_letters_is_left_to_the_builder() -> None:
    found = blocked("FROM base\nCOPY --chmod=u+x app.py /a\n", {"app.py": "two"})
    assert found == Blocked("COPY (line 2) sets a mode that is no octal number: --chmod=u+x", 2, "app.py")


def test_a_changed_permission_is_synced() -> None:
    [one] = plan("FROM base\nCOPY . /app\n", {"app.py": Entry("file", 0o755, "one", 3)}).writes
    assert (one.path, one.mode, one.digest) == ("/app/app.py", 0o755, "one")


def test_the_mode_of_a_directory_is_left_to_the_builder() -> None:
    found = blocked("FROM base\nCOPY . /app\n", {"src": Entry("directory", 0o700, "", 0)})
    assert found.reason == "the mode of the directory src changed"


def test_the_mode_of_a_source_itself_reaches_no_image() -> None:
    assert plan("FROM base\nCOPY src /app\n", {"src": Entry("directory", 0o700, "", 0)}).is_empty


def test_a_link_is_carried_as_a_link() -> None:
    [one] = plan("FROM base\nCOPY . /app\n", {"src/ln": "-> a.py"}).writes
    assert (one.path, one.kind, one.link) == ("/app/src/ln", "link", "a.py")


def test_new_directories_come_with_what_is_in_them_and_empty_ones_too() -> None:
    found = plan("FROM base\nCOPY . /app\n", {"new/deep/x": "two", "hollow": "dir"})
    assert [(one.path, one.kind) for one in found.writes] == [
        ("/app/hollow", "directory"),
        ("/app/new", "directory"),
        ("/app/new/deep", "directory"),
        ("/app/new/deep/x", "file"),
    ]


def test_an_excluded_path_is_nobodys() -> None:
    assert plan("FROM base\nCOPY --exclude=*.md . /app\n", {"readme.md": "two"}).is_empty


def test_exceptions_among_the_excluded_are_left_to_the_builder() -> None:
    found = blocked("FROM base\nCOPY --exclude=src --exclude=!src/a.py . /app\n", {"src/a.py": "two"})
    assert found == Blocked("COPY (line 2) excludes by patterns with exceptions", 2)


def test_a_link_at_the_top_of_a_filtered_context_is_followed_by_the_engine() -> None:
    link = {"now": "-> app.py"}
    dockerfile = "FROM scratch\nCOPY --exclude=*.md . /app\n"
    assert "through the link now" in blocked(dockerfile, {"app.py": None}, tree=link).reason
    assert written(plan(dockerfile, {"app.py": "two"}, tree={"src/now": "-> a.py"})) == ["/app/app.py"]


def test_a_source_that_is_a_link_is_left_to_the_builder() -> None:
    found = blocked("FROM base\nCOPY now /app\n", {"src/a.py": "two"}, tree={"now": "-> src"})
    assert found == Blocked("COPY (line 2) reaches src/a.py through the link now", 2)


def test_a_match_that_is_a_link_is_left_to_the_builder() -> None:
    found = blocked("FROM base\nCOPY n* /app/\n", {"app.py": "two"}, tree={"now": "-> app.py"})
    assert found == Blocked("COPY (line 2) reaches app.py through the link now", 2)


def test_a_path_that_no_step_reads_needs_nothing() -> None:
    found = plan("FROM base\nCOPY src /app\n", {"readme.md": "two"})
    assert found.is_empty


def test_a_file_that_changed_under_the_same_size_and_time_is_left_to_the_builder() -> None:
    found = blocked("FROM base\nCOPY . /app\n", {"app.py": Entry("file", 0o600, "one", 3, "two")})
    assert "which the builder does not see" in found.reason


def test_what_is_neither_file_nor_directory_nor_link_is_left_to_the_builder() -> None:
    found = blocked("FROM base\nCOPY . /app\n", {"pipe": Entry("other", 0o644, "fifo", 0)})
    assert found.reason == "pipe is no file, directory or link"


def test_a_path_that_cannot_be_read_is_left_to_the_builder() -> None:
    before = Snapshot.of(entries(TREE))
    lost = Unreadable(next(iter(before)), "Permission denied")
    after = Snapshot(Directory(0, dict(before.root.children)), (lost,))
    found = prove_sync(graph_of("FROM base\nCOPY . /app\n"), {"": before}, {"": after}, {"": []})
    assert found == Blocked("app.py cannot be read: Permission denied", None, "app.py")


# Who else reads it ------------------------------------------------------------------------------------------

GO = """\
FROM golang AS build
WORKDIR /src
COPY go.mod ./
RUN go mod download
COPY . .

# the binary

RUN go build -o /server
FROM base
COPY --from=build /server /server
COPY static /static
"""


def test_the_step_in_the_way_is_named_with_its_line() -> None:
    assert blocked(GO, {"main.go": "two"}) == Blocked(
        "main.go -> RUN go build -o /server (line 9) may read it, after its COPY", 9, "main.go"
    )


def test_a_bind_mount_reads_the_path() -> None:
    dockerfile = "FROM base\nRUN --mount=type=bind,target=/src cd /src && go build\nCOPY static /static\n"
    found = blocked(dockerfile, {"main.go": "two"})
    assert found.line == 2
    assert found.reason.startswith("main.go -> RUN --mount=type=bind,target=/src")
    assert found.reason.endswith("(line 2) reads it")


def test_a_run_above_the_copy_does_not_see_it() -> None:
    assert written(plan("FROM base\nRUN install\nCOPY . /app\n", {"app.py": "two"})) == ["/app/app.py"]


def test_an_onbuild_trigger_of_the_base_counts_like_a_step() -> None:
    dockerfile = "FROM base AS one\nONBUILD RUN check\nCOPY . /app\nFROM one\nCOPY app.py /x\n"
    found = blocked(dockerfile, {"app.py": "two"})
    assert "RUN check" in found.reason


def test_everything_that_reads_a_path_must_agree() -> None:
    dockerfile = "FROM base\nCOPY go.mod /app/\nRUN go mod download\nCOPY . /app\n"
    assert blocked(dockerfile, {"go.mod": "two"}).line == 3
    assert written(plan(dockerfile, {"main.go": "two"})) == ["/app/main.go"]


def test_one_blocked_change_blocks_the_batch() -> None:
    dockerfile = "FROM base\nCOPY go.mod /app/\nRUN go mod download\nCOPY . /app\n"
    assert blocked(dockerfile, {"go.mod": "two", "main.go": "two"}).path == "go.mod"


# Other stages -----------------------------------------------------------------------------------------------

ASSETS = "FROM scratch AS assets\nCOPY --chown=5:6 --chmod=640 static /out/\n"


def test_a_stage_that_only_copies_is_followed() -> None:
    [one] = plan(f"{ASSETS}FROM base\nCOPY --from=assets /out /pub\n", {"static/app.css": "two"}).writes
    assert (one.path, one.mode, one.owner) == ("/pub/app.css", 0o640, "5:6")


def test_the_second_copy_decides_on_mode_and_owner() -> None:
    copy = "COPY --from=assets --chown=7 --chmod=0 /out/app.css /x.css"
    [one] = plan(f"{ASSETS}FROM base\n{copy}\n", {"static/app.css": "two"}).writes
    assert (one.path, one.mode, one.owner) == ("/x.css", 0, "7")


def test_an_owner_named_in_another_stage_is_not_looked_up_in_this_one() -> None:
    dockerfile = "FROM base AS s\nCOPY --chown=app static /out\nFROM base\nCOPY --from=s /out /pub\n"
    assert "the owner app" in blocked(dockerfile, {"static/app.css": "two"}).reason


def test_a_stage_that_runs_something_afterwards_is_not_followed() -> None:
    dockerfile = "FROM base AS s\nCOPY static /out\nRUN minify\nFROM base\nCOPY --from=s /out /pub\n"
    assert blocked(dockerfile, {"static/app.css": "two"}) == Blocked(
        "static/app.css -> RUN minify (line 3) may read it, after its COPY", 3, "static/app.css"
    )


def test_what_the_final_stage_does_not_take_of_another_needs_nothing() -> None:
    dockerfile = "FROM scratch AS s\nCOPY . /out\nFROM base\nCOPY --from=s /out/static /pub\n"
    assert plan(dockerfile, {"main.go": "two"}).is_empty
    assert written(plan(dockerfile, {"static/app.css": "two"})) == ["/pub/app.css"]


def test_a_pattern_on_a_stage_is_left_to_the_builder() -> None:
    found = blocked(f"{ASSETS}FROM base\nCOPY --from=assets /out/*.css /pub/\n", {"static/app.css": "two"})
    assert found == Blocked("COPY (line 4) takes by a pattern from a stage", 4)


def test_a_mount_of_a_stage_reads_what_it_holds() -> None:
    found = blocked(
        f"{ASSETS}FROM base\nRUN --mount=from=assets,target=/a cp -r /a /b\n", {"static/app.css": "two"}
    )
    assert found.line == 4
    assert found.reason.endswith("reads it")


def test_a_path_through_two_stages_is_left_to_the_builder() -> None:
    dockerfile = f"{ASSETS}FROM scratch AS t\nCOPY --from=assets /out /t\nFROM base\nCOPY --from=t /t /pub\n"
    assert "passes through more than one stage" in blocked(dockerfile, {"static/app.css": "two"}).reason


def test_a_stage_that_stands_on_the_final_files_reads_them_too() -> None:
    dockerfile = (
        "FROM base AS one\nCOPY app.py /app/\nFROM one AS two\nRUN compile\n"
        "FROM one\nCOPY --from=two /out /out\n"
    )
    assert blocked(dockerfile, {"app.py": "two"}).line == 4


def test_what_is_copied_within_the_final_files_goes_to_both_places() -> None:
    dockerfile = "FROM base AS one\nCOPY app.py /app/\nFROM one\nCOPY --from=one /app/app.py /copy.py\n"
    assert written(plan(dockerfile, {"app.py": "two"})) == ["/app/app.py", "/copy.py"]


# One place, several writers ---------------------------------------------------------------------------------


def test_a_later_copy_over_the_same_place_wins() -> None:
    dockerfile = "FROM base\nCOPY src /app\nCOPY static /app\n"
    both = {"static/a.py": "other"}
    assert plan(dockerfile, {"src/a.py": "two"}, tree=both).is_empty
    [one] = plan(dockerfile, {"static/a.py": "two"}, tree=both).writes
    assert (one.path, one.source) == ("/app/a.py", "static/a.py")


def test_what_a_later_copy_gives_up_comes_back_from_the_earlier_one() -> None:
    dockerfile = "FROM base\nCOPY src /app\nCOPY static /app\n"
    found = plan(dockerfile, {"static/a.py": None}, tree={"static/a.py": "other"})
    assert found.removals == ()
    assert [(one.path, one.source, one.digest) for one in found.writes] == [("/app/a.py", "src/a.py", "one")]


def test_the_last_of_several_sources_wins() -> None:
    dockerfile = "FROM base\nCOPY src static /app/\n"
    [one] = plan(dockerfile, {"static/a.py": "two"}).writes
    assert one.source == "static/a.py"
    assert plan(dockerfile, {"src/a.py": "two"}, tree={"static/a.py": "other"}).is_empty


def test_the_last_of_several_matches_with_one_name_wins() -> None:
    dockerfile = "FROM base\nCOPY s*/*.py /app/\n"
    both = {"static/a.py": "other"}
    assert plan(dockerfile, {"src/a.py": "two"}, tree=both).is_empty
    [one] = plan(dockerfile, {"static/a.py": "two"}, tree=both).writes
    assert (one.path, one.source) == ("/app/a.py", "static/a.py")


@pytest.mark.parametrize(
    ("above", "where"),
    [
        ("COPY --from=tools:1 /x /app", "tools:1"),
        ("COPY --from=made /x /app", "stage made"),
        ("ADD https://host.invalid/x /app/", "elsewhere"),
    ],
)
def test_a_layer_above_that_nobody_can_see_into_blocks_its_places(above: str, where: str) -> None:
    dockerfile = f"FROM base AS made\nRUN make\nFROM base\nCOPY src /app\n{above}\n"
    found = blocked(dockerfile, {"src/a.py": "two"})
    assert found == Blocked(
        f"{above.partition(' ')[0]} (line 5) may write /app/a.py as well, from {where}", 5, "src/a.py"
    )


def test_a_layer_above_that_is_seen_not_to_have_the_place_is_none_of_its_business() -> None:
    dockerfile = "FROM base\nCOPY src /app\nCOPY --from=tools:1 /x /app\n"
    lower = Surroundings(layers_with=lambda _path: frozenset({1}), layer_count=5)
    upper = Surroundings(layers_with=lambda _path: frozenset({0, 1}), layer_count=5)
    assert written(plan(dockerfile, {"src/a.py": "two"}, around=lower)) == ["/app/a.py"]
    assert "may write /app/a.py" in blocked(dockerfile, {"src/a.py": "two"}, around=upper).reason


def test_a_layer_that_a_build_makes_anew_tells_nothing_of_what_it_will_have() -> None:
    stage = "FROM base AS s\nCOPY src /out\nCOPY app.py /out/lib.py\n"
    dockerfile = f"{stage}FROM base\nCOPY --from=s /out/lib.py /app\n"
    seen = Surroundings(layers_with=lambda _path: frozenset(), layer_count=5)
    assert isinstance(prove(dockerfile, {"app.py": "two"}, around=seen), Blocked)
    dockerfile = f"{stage}FROM base\nCOPY --from=s /out /app\n"
    assert written(plan(dockerfile, {"src/new.py": "two"}, around=seen)) == ["/app/new.py"]


def test_a_file_of_the_dockerfile_itself_wins_over_a_copy_below() -> None:
    dockerfile = "FROM base\nCOPY src /app/\nCOPY <<a.py /app/\ntext\na.py\n"
    assert plan(dockerfile, {"src/a.py": "two"}).is_empty
    assert written(plan(dockerfile, {"src/b.py": "two"})) == ["/app/b.py"]


def test_a_directory_to_one_step_and_a_file_to_another_is_left_to_the_builder() -> None:
    dockerfile = "FROM base\nCOPY src /app\nCOPY static /app/lib.d\n"
    found = blocked(dockerfile, {"src/lib.d": "two"})
    assert "is a directory to one step and a file to another" in found.reason


def test_a_clash_in_another_stage_fails_the_build_though_nothing_of_it_is_taken() -> None:
    stage = "FROM scratch AS s\nCOPY src /out\nCOPY static /out\nCOPY app.py /one\n"
    dockerfile = f"{stage}FROM base\nCOPY --from=s /one /one\n"
    found = blocked(dockerfile, {"src/img": "two"})
    assert found.reason == "/out/img is a directory to one step and a file to another"
    assert plan(dockerfile, {"src/new": "two"}).is_empty


def test_what_is_new_in_a_stage_over_an_image_may_clash_with_that() -> None:
    dockerfile = "FROM base AS s\nCOPY . /out\nFROM base\nCOPY --from=s /out/static /pub\n"
    assert plan(dockerfile, {"main.go": "two"}).is_empty
    assert "is new in a stage" in blocked(dockerfile, {"new.go": "two"}).reason


def test_users_that_are_copied_may_be_others_than_those_a_name_meant() -> None:
    dockerfile = "FROM base\nCOPY --chown=app src /app\nCOPY static /etc\n"
    assert written(plan(dockerfile, {"src/a.py": "two"})) == ["/app/a.py"]
    found = blocked(dockerfile, {"src/a.py": "two"}, tree={"static/passwd": "users"})
    assert found.reason.startswith("the owner app of /app/a.py")


# What goes --------------------------------------------------------------------------------------------------

SEEN = Surroundings(layers_with=lambda _path: frozenset({0}), layer_count=4)
"""A container of an image of four layers, of which only the topmost ever has a path."""


def test_a_path_that_devloop_brought_may_go_again() -> None:
    ours = Surroundings(is_ours=lambda path: path == "/app/app.py")
    assert plan("FROM base\nCOPY . /app\n", {"app.py": None}, around=ours).removals == ("/app/app.py",)


def test_a_path_may_go_where_no_lower_layer_has_it() -> None:
    assert plan("FROM base\nCOPY . /app\n", {"app.py": None}, around=SEEN).removals == ("/app/app.py",)


@pytest.mark.parametrize("holding", [frozenset({0, 3}), frozenset({3}), None])
def test_a_path_stays_where_a_lower_layer_has_it_or_nobody_knows(holding: frozenset[int] | None) -> None:
    around = Surroundings(layers_with=lambda _path: holding, layer_count=4)
    found = blocked("FROM base\nCOPY . /app\n", {"app.py": None}, around=around)
    assert found == Blocked(
        "app.py went, and lower layers of the image may hold something at /app/app.py", 2, "app.py"
    )


def test_what_a_run_below_has_would_come_back() -> None:
    around = Surroundings(layers_with=lambda _path: frozenset({0, 1}), layer_count=4)
    assert isinstance(prove("FROM base\nRUN gen\nCOPY . /app\n", {"app.py": None}, around=around), Blocked)


def test_an_image_from_nothing_has_nothing_below() -> None:
    assert plan("FROM scratch\nCOPY . /app\n", {"app.py": None}).removals == ("/app/app.py",)


def test_layers_that_do_not_fit_the_steps_tell_nothing() -> None:
    around = Surroundings(layers_with=lambda _path: frozenset({0}), layer_count=1)
    dockerfile = "FROM base\nCOPY src /a\nCOPY . /app\n"
    assert isinstance(prove(dockerfile, {"app.py": None}, around=around), Blocked)


def test_a_rename_is_a_removal_and_a_write() -> None:
    found = plan("FROM base\nCOPY . /app\n", {"app.py": None, "run.py": "one"}, around=SEEN)
    assert (written(found), found.removals) == (["/app/run.py"], ("/app/app.py",))


def test_a_file_that_becomes_a_directory_goes_first() -> None:
    found = plan("FROM base\nCOPY . /app\n", {"app.py": "dir", "app.py/x": "two"}, around=SEEN)
    assert (written(found), found.removals) == (["/app/app.py", "/app/app.py/x"], ("/app/app.py",))


def test_what_comes_below_a_new_directory_meets_nothing_that_was_there() -> None:
    around = container(app__now="link", app__now__lib="directory")
    changed = {"now": "dir", "now/lib": "two"}
    found = plan("FROM scratch\nCOPY . /app\n", changed, tree={"now": "-> src"}, around=around)
    assert written(found) == ["/app/now", "/app/now/lib"]


def test_a_directory_that_becomes_a_file_goes_with_what_is_in_it() -> None:
    gone: dict[str, str | None] = {"src/a.py": None, "src/b.py": None, "src/lib/c.py": None, "src": "two"}
    found = plan("FROM base\nCOPY . /app\n", gone, around=SEEN)
    assert written(found) == ["/app/src"]
    assert found.removals == (
        *("/app/src", "/app/src/a.py", "/app/src/b.py", "/app/src/lib", "/app/src/lib/c.py"),
    )


def test_a_file_that_becomes_a_link_is_only_written() -> None:
    found = plan("FROM base\nCOPY . /app\n", {"app.py": "-> main.go"})
    assert ([one.kind for one in found.writes], found.removals) == (["link"], ())


def test_a_new_file_over_a_directory_of_the_image_is_refused() -> None:
    found = blocked("FROM base\nCOPY . /app\n", {"log": "two"}, around=container(app__log="directory"))
    assert found == Blocked("what is at /app/log in the image is a directory", 2, "log")


def test_a_directory_stays_where_a_step_makes_it() -> None:
    dockerfile = "FROM scratch\nCOPY src /app\nWORKDIR /app/lib\n"
    assert "made in another way" in blocked(dockerfile, {"src/lib/c.py": None, "src/lib": None}).reason


@pytest.mark.parametrize(
    ("copy", "changed"),
    [
        ("COPY app.py /app/", {"app.py": None}),
        ("COPY src /app/", {"src/a.py": None, "src/b.py": None, "src/lib/c.py": None, "src/lib": None}),
        ("COPY app.py /app/", {"app.py": "dir"}),
        ("COPY *.md /app/", {"readme.md": None}),
        ("COPY *.txt /app/", {"new.txt": "two"}),
    ],
)
def test_a_source_that_comes_or_goes_is_left_to_the_builder(
    copy: str, changed: dict[str, str | None]
) -> None:
    if "src/a.py" in changed:
        changed = {**changed, "src": None}
    found = blocked(f"FROM scratch\n{copy}\n", changed)
    assert found.reason == f"COPY (line 2) takes {copy.split()[1]}, which came, went or changed its kind"


# The container ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mount", ["/app", "/app/src", "/app/src/a.py"])
def test_a_mount_over_the_place_hides_what_is_synced(mount: str) -> None:
    found = blocked("FROM base\nCOPY . /app\n", {"src/a.py": "two"}, around=Surroundings((mount,)))
    assert found.reason == f"/app/src/a.py lies under the mount {mount}, which hides the image's files"


def test_a_mount_elsewhere_does_no_harm() -> None:
    around = Surroundings(("/application", "/data"))
    assert written(plan("FROM base\nCOPY . /app\n", {"src/a.py": "two"}, around=around)) == ["/app/src/a.py"]


def test_a_read_only_container_takes_nothing() -> None:
    found = blocked("FROM base\nCOPY . /app\n", {"app.py": "two"}, around=Surroundings(is_read_only=True))
    assert found.reason == "the container's file system is read-only"


def test_a_container_that_does_not_run_takes_nothing() -> None:
    around = Surroundings(refusal="the container does not run")
    found = prove("FROM base\nCOPY . /app\n", {"app.py": "two"}, around=around)
    assert found == Blocked("the container does not run")


def test_files_that_the_engine_mounts_are_out_of_reach() -> None:
    found = blocked("FROM base\nCOPY static /etc\n", {"static/hosts": "two"})
    assert "lies under the mount /etc/hosts" in found.reason


def test_a_directory_that_holds_a_mount_cannot_go() -> None:
    gone: dict[str, str | None] = {
        "src/a.py": None,
        "src/b.py": None,
        "src/lib/c.py": None,
        "src/lib": None,
        "src": None,
    }
    around = Surroundings(("/app/src/data",))
    assert blocked("FROM scratch\nCOPY . /app\n", gone, around=around).reason == (
        "/app/src holds the mount /app/src/data"
    )


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "data"])
def test_add_may_unpack_what_copy_would_not(name: str) -> None:
    assert blocked(f"FROM base\nADD {name} /x/\n", {name: "two"}, tree={name: "one"}).reason == (
        f"ADD (line 2) may unpack {name}; COPY would not"
    )
    assert written(plan("FROM base\nADD . /x/\n", {name: "two"}, tree={name: "one"})) == [f"/x/{name}"]


def test_the_linked_copy_of_an_engine_that_merges_does_not_see_the_image() -> None:
    merging = BuildOptions(merges=True)
    dockerfile = "FROM base\nCOPY --link app.py /opt\n"
    assert written(plan(dockerfile, {"app.py": "two"}, options=merging)) == ["/opt"]
    found = blocked(dockerfile, {"app.py": "two"}, options=merging, around=container(opt="directory"))
    assert found.reason == "COPY (line 2) replaces the directory /opt"
