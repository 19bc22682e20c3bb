"""What a COPY takes, rule by rule: two contexts, and whether the step can tell them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from context.trees import folder, link, text_file, tree
from devloop.context.selection import MissingSource, Selected, Selection, follow_paths, reads, select
from devloop.context.snapshot import SOCKET, Entry, Snapshot, with_edits
from devloop.paths import ContextPath

if TYPE_CHECKING:
    from collections.abc import Mapping

Files = dict[str, Entry]


def files(text: str = "", **more: Entry) -> Files:
    """Read `path=content` words; without content the path stands for it, with a slash it is a directory."""
    made: Files = {}
    for word in text.split():
        path, _, content = word.partition("=")
        if path.endswith("/"):
            made[path.rstrip("/")] = folder()
        elif content.startswith("->"):
            made[path] = link(content[2:])
        else:
            made[path] = text_file(content or path)
    return made | more


def taken(context: Mapping[str, Entry], selection: Selection, *, relative: bool = False) -> Selected:
    found = select(Snapshot.of(context), selection, listing="paths" if relative else "names")
    assert isinstance(found, Selected)
    return found


def copy(sources: str, *excludes: str, parents: bool = False) -> Selection:
    return Selection(tuple(sources.split()), excludes, parents=parents)


SAME, OTHER = True, False

PLAIN = [
    ("the bytes count", "a", files("a=1"), files("a=2"), OTHER),
    ("permission bits count", "a", files(a=text_file("1")), files(a=text_file("1", 0o600)), OTHER),
    ("setuid counts", "a", files(a=text_file("1", 0o755)), files(a=text_file("1", 0o4755)), OTHER),
    ("what is elsewhere does not count", "a", files("a=1 b=1"), files("a=1 b=2 c=3"), SAME),
    ("names below a directory count", "d", files("d/a=1"), files("d/b=1"), OTHER),
    ("an empty directory counts", "d", files("d/a=1"), files("d/a=1 d/e/"), OTHER),
    ("a nested link counts by its text", "d", files("d/l=->x x=1"), files("d/l=->y y=1"), OTHER),
    ("and not by what it points to", "d", files("d/l=->../x x=1"), files("d/l=->../x x=2"), SAME),
    ("the target of a link that is the source counts", "l", files("l=->x x=1"), files("l=->x x=2"), OTHER),
    ("a link may point to an equal file", "l", files("l=->x x=1"), files("l=->y y=1"), SAME),
    ("a link may be replaced by what it points to", "l", files("l=->x x=1"), files("l=1"), SAME),
    ("links are followed in all components", "l/a", files("l=->d d/a=1"), files("l=->e e/a=1"), SAME),
    ("an absolute link starts at the root", "d/l", files("d/l=->/x x=1"), files("d/l=->/x x=2"), OTHER),
    ("a link stops at the root", "l", files("l=->../../x x=1"), files("l=->../../x x=2"), OTHER),
    ("a link may go through another", "a", files("a=->b b=->c c=1"), files("a=->b b=->c c=2"), OTHER),
    ("a link to the root is everything", "l", files("l=->/ x=1"), files("l=->/ x=2"), OTHER),
    ("all spellings of a path are one", "./d/../a", files("a=1"), files("a=2"), OTHER),
    ("a path stops at the root", "../a", files("a=1"), files("a=2"), OTHER),
    ("the root is everything", ".", files("a=1"), files("a=1 b=2"), OTHER),
    ("a trailing slash says nothing", "d/", files("d/a=1"), files("d/a=2"), OTHER),
    ("of two sources both count", "a b", files("a=1 b=1"), files("a=1 b=2"), OTHER),
    (
        "a path below another source adds nothing",
        "d d/l",
        files("d/l=->../x x=1"),
        files("d/l=->../x x=2"),
        SAME,
    ),
    (
        "a socket is like an empty file",
        "d",
        files("d/", **{"d/s": Entry("other", 0o755, SOCKET, 0)}),
        files("d/", **{"d/s": Entry("file", 0o755, "e3b0c44298fc1c149afbf4c8996fb924", 0)}),
        SAME,
    ),
    (
        "a fifo is not",
        "d",
        files("d/", **{"d/s": Entry("other", 0o755, "fifo", 0)}),
        files("d/", **{"d/s": Entry("other", 0o755, SOCKET, 0)}),
        OTHER,
    ),
    (
        "a size is nothing of its own",
        "a",
        files(a=Entry("file", 0o644, "1", 1)),
        files(a=Entry("file", 0o644, "1", 2)),
        SAME,
    ),
    ("names are ordered and told apart", "d", files("d/a=b d/c=d"), files("d/a=d d/c=b"), OTHER),
]

LISTS = [
    ("a wildcard counts what it matches", "*.t", files("a.t=1 b=1"), files("a.t=2 b=1"), OTHER, OTHER),
    ("and nothing else", "*.t", files("a.t=1 b=1"), files("a.t=1 b=2 d/c.t=1"), SAME, SAME),
    ("a name that a wildcard matches counts", "*.t", files("a.t=1"), files("b.t=1"), OTHER, OTHER),
    ("a wildcard that matches nothing is no error", "*.t", files(), files("a=1"), SAME, SAME),
    ("a first match counts", "*.t", files(), files("a.t=1"), OTHER, OTHER),
    ("a wildcard matches dot files", "*", files(".a=1"), files(".a=2"), OTHER, OTHER),
    ("a matched directory counts with all below", "w*", files("w/a/b=1"), files("w/a/b=2"), OTHER, OTHER),
    ("its own mode apart, so does an empty one", "w*", files("w/a/"), files("w/"), OTHER, OTHER),
    (
        "two stars are one star",
        "**/*.t",
        files("d/a.t=1 d/e/b.t=1"),
        files("d/a.t=1 d/e/b.t=2 c.t=1"),
        SAME,
        SAME,
    ),
    ("a matched link is followed", "l*", files("l=->x x=1"), files("l=->x x=2"), OTHER, OTHER),
    ("also to a directory", "l*", files("l=->d d/a=1"), files("l=->d d/a=2"), OTHER, OTHER),
    ("a link deeper inside is not", "w*", files("w/l=->../x x=1"), files("w/l=->../x x=2"), SAME, SAME),
    ("but its text counts", "w*", files("w/l=->../x x=1"), files("w/l=->../y y=1"), OTHER, OTHER),
    ("links before the wildcard are followed", "l/*", files("l=->d d/a=1"), files("l=->e e/a=1"), SAME, SAME),
    ("links behind it are not", "*/a", files("l=->d d/b=1"), files("l=->e e/b=1"), SAME, SAME),
    (
        "up to 0.25 a directory may move out of its parent",
        "w*",
        files("w/a/b/ w/a/c"),
        files("w/a/ w/b/ w/c=w/a/c"),
        SAME,
        OTHER,
    ),
    (
        "a literal bracket is written as a class",
        "[[]a",
        files("[a=1"),
        files("[a=2"),
        OTHER,
        OTHER,
    ),
    ("a class may cross a slash", "a[^x]b", files("a/b=1"), files("a/b=2"), OTHER, OTHER),
    ("an escape in the fixed part finds nothing", r"a\b/*", files("ab/c=1"), files("ab/c=2"), SAME, SAME),
]

FILTERS = [
    (
        "what is excluded does not matter",
        ("d", "*.md"),
        files("d/a=1 d/b.md=1"),
        files("d/a=1 d/b.md=2"),
        SAME,
        SAME,
    ),
    (
        "adding what is excluded does not matter",
        ("d", "*.md"),
        files("d/a=1"),
        files("d/a=1 d/c.md=1"),
        SAME,
        SAME,
    ),
    ("what is not excluded does", ("d", "*.md"), files("d/a=1"), files("d/a=2"), OTHER, OTHER),
    ("patterns are relative to the source", ("d", "d/a"), files("d/a=1"), files("d/a=2"), OTHER, OTHER),
    ("and to each match of a wildcard", ("d*", "a"), files("d/a=1 e/a=1"), files("d/a=2 e/a=2"), SAME, SAME),
    (
        "a new directory with only excluded files does matter",
        ("d", "**/*.md"),
        files("d/a=1"),
        files("d/a=1 d/e/f.md=1"),
        OTHER,
        OTHER,
    ),
    ("an excluded directory does not", ("d", "e"), files("d/a=1"), files("d/a=1 d/e/f=1"), SAME, SAME),
    ("an exception does", ("d", "e !e/f"), files("d/e/f=1"), files("d/e/f=2"), OTHER, OTHER),
    (
        "up to 0.25 the base name collides with filters too",
        ("w", "*.md"),
        files("w/a/b/ w/a/c"),
        files("w/a/ w/b/ w/c=w/a/c"),
        SAME,
        OTHER,
    ),
    (
        "a source that is a link takes all that it leads to",
        ("l", "*.md"),
        files("l=->d d/b.md=1"),
        files("l=->d d/b.md=2"),
        OTHER,
        OTHER,
    ),
    (
        "two stars recurse in an exclusion",
        (".", "**/x"),
        files("a=1 b/x=1 b/c/x=1"),
        files("a=1 b/x=2 b/c/x=2"),
        SAME,
        SAME,
    ),
    (
        "a link at the root is followed under filters",
        (".", "x"),
        files("l=->x x=1"),
        files("l=->x x=2"),
        OTHER,
        OTHER,
    ),
]

PARENTS = [
    ("the source is a pattern below the root", "d/a", files("d/a=1 d/b=1"), files("d/a=1 d/b=2"), SAME),
    ("its match counts", "d/a", files("d/a=1"), files("d/a=2"), OTHER),
    ("two stars recurse", "**/p.json", files("a/b/p.json=1"), files("a/b/p.json=2"), OTHER),
    ("a parent counts when something below is included", "**/p", files("a/p=1"), files("b/p=1"), OTHER),
    ("and does not when nothing is", "**/p", files("a/p=1"), files("a/p=1 b/c=1"), SAME),
    (
        "what is before the pivot is no parent",
        "a/./b/p",
        files("a/b/p=1 a/c=1"),
        files("a/b/p=1 a/c=2"),
        SAME,
    ),
    ("a directory as pattern is everything below it", "d", files("d/e/f=1"), files("d/e/f=2"), OTHER),
    ("the root is everything", ".", files("d/e=1"), files("d/e=2"), OTHER),
]


@pytest.mark.parametrize(("rule", "sources", "before", "after", "is_same"), PLAIN)
@pytest.mark.parametrize("relative", [False, True])
def test_plain_source(
    *, rule: str, sources: str, before: Files, after: Files, is_same: bool, relative: bool
) -> None:
    first = taken(before, copy(sources), relative=relative)
    assert (first.content == taken(after, copy(sources), relative=relative).content) is is_same, rule


@pytest.mark.parametrize(("rule", "sources", "before", "after", "by_base_name", "by_path"), LISTS)
def test_wildcard(
    *, rule: str, sources: str, before: Files, after: Files, by_base_name: bool, by_path: bool
) -> None:
    compare(copy(sources), before, after, {False: by_base_name, True: by_path}, rule)


@pytest.mark.parametrize(("rule", "source", "before", "after", "by_base_name", "by_path"), FILTERS)
def test_exclusion(
    *, rule: str, source: tuple[str, str], before: Files, after: Files, by_base_name: bool, by_path: bool
) -> None:
    compare(copy(source[0], *source[1].split()), before, after, {False: by_base_name, True: by_path}, rule)


def compare(selection: Selection, before: Files, after: Files, expected: dict[bool, bool], rule: str) -> None:
    for relative, is_same in expected.items():
        first = taken(before, selection, relative=relative)
        second = taken(after, selection, relative=relative)
        assert (first.content == second.content) is is_same, (rule, relative)


@pytest.mark.parametrize(("rule", "source", "before", "after", "is_same"), PARENTS)
@pytest.mark.parametrize("relative", [False, True])
def test_parents(
    *, rule: str, source: str, before: Files, after: Files, is_same: bool, relative: bool
) -> None:
    selection = copy(source, parents=True)
    first = taken(before, selection, relative=relative)
    assert (first.content == taken(after, selection, relative=relative).content) is is_same, rule


@pytest.mark.parametrize(
    ("selection", "source"),
    [
        (copy("a"), "a"),
        (copy("d/missing"), "d/missing"),
        (copy("dead"), "dead"),
        (copy("loop"), "loop"),
        (copy("d b"), "b"),
        (copy("a", "*.md"), "a"),
        (copy("dead*"), "dead*"),
        (copy("["), "["),
        (copy("d", "["), "["),
        (Selection(("d*",), wildcards=False), "d*"),
    ],
)
def test_a_step_fails_on_a_source_that_is_not_there(selection: Selection, source: str) -> None:
    context = Snapshot.of(files("d/x dead=->nowhere loop=->loop"))
    found = select(context, selection, listing="names")
    assert isinstance(found, MissingSource)
    assert found.source == source
    assert found.reason


def test_a_missing_path_is_an_error_of_parents_from_0_26_on() -> None:
    context = tree("d/a")
    for source in ("missing", "missing/*", "d/missing"):
        before = select(context, copy(source, parents=True), listing="names")
        assert isinstance(before, Selected)
        assert before.is_empty
        assert isinstance(select(context, copy(source, parents=True), listing="paths"), MissingSource)
    assert isinstance(select(context, copy("*/missing", parents=True), listing="paths"), Selected)


def test_up_to_0_24_a_link_deeper_inside_is_followed_too() -> None:
    contexts = [Snapshot.of(files(f"w/l=->../x x={content}")) for content in "12"]
    first, second = (select(each, copy("w*"), listing="nested") for each in contexts)
    assert first != second
    dead = Snapshot.of(files("w/l=->nowhere"))
    assert isinstance(select(dead, copy("w*"), listing="nested"), MissingSource)


@pytest.mark.parametrize(
    "selection", [copy("d"), copy("d*"), copy("d", "x"), copy(".", "x"), copy("d/a/b", parents=True)]
)
def test_the_mode_of_a_directory_alone_shows_in_its_own_digest_only(selection: Selection) -> None:
    before = taken(files("d/a/b", **{"d/a": folder(0o755)}), selection)
    after = taken(files("d/a/b", **{"d/a": folder(0o700)}), selection)
    assert before.content == after.content
    assert before.directory_modes != after.directory_modes


def test_the_mode_of_the_root_and_of_directories_elsewhere_never_count() -> None:
    before = taken(files("a", d=folder(0o755)), copy("a"))
    assert before == taken(files("a", d=folder(0o700)), copy("a"))


@pytest.mark.parametrize("selection", [copy("a"), copy("."), copy("*"), copy(".", "x")])
def test_bytes_that_changed_in_disguise_are_as_uncertain_as_a_directory_mode(selection: Selection) -> None:
    before = taken(files(a=Entry("file", 0o644, "1", 1)), selection)
    after = taken(files(a=Entry("file", 0o644, "1", 1, "2")), selection)
    assert before.content == after.content
    assert before.directory_modes != after.directory_modes


def test_the_source_of_a_mount_is_no_pattern() -> None:
    context = files("d*=1 d2=1")
    mount = Selection(("d*",), wildcards=False)
    assert taken(context, mount) == taken(context | files("d2=2"), mount)


@pytest.mark.parametrize(
    ("selection", "path", "expected"),
    [
        (copy("a"), "a", True),
        (copy("a"), "ab", False),
        (copy("d"), "d/x/y", True),
        (copy("d/x"), "d", True),
        (copy("d/x"), "d/y", False),
        (copy("."), "any/thing", True),
        (copy("*.t"), "a.t", True),
        (copy("*.t"), "d/a.t", False),
        (copy("d/*.t"), "d", True),
        (copy("w*"), "w1/deep/in", True),
        (copy("d", "*.md"), "d/a.md", False),
        (copy("d", "*.md"), "d/a.py", True),
        (copy("d", "*.md"), "d", True),
        (copy("d", "x !x/y"), "d/x", True),
        (copy("d/a/b", parents=True), "d/a/b", True),
        (copy("d/a/b", parents=True), "d/a/c", False),
        (copy("d/a/b", parents=True), "d/a", True),
        (copy("a/./b", parents=True), "a/b", True),
        (copy("a/./b", parents=True), "b", False),
        (copy("["), "[", False),
    ],
)
def test_a_selection_knows_which_paths_it_reads(selection: Selection, path: str, expected: bool) -> None:
    assert reads(selection, ContextPath(path)) is expected


@pytest.mark.parametrize(
    ("source", "path", "expected"),
    [
        ("l", "d/a", True),
        ("l", "l", True),
        ("l/a", "d/a", True),
        ("l/a", "d/b", False),
        ("l*", "d/a", True),
        ("l/*.t", "d/a.t", True),
        ("l/*.t", "d/a.u", False),
        ("through", "l", True),
        ("through", "d/a", True),
        ("through", "other", False),
    ],
)
def test_a_snapshot_shows_what_is_read_through_links(source: str, path: str, expected: bool) -> None:
    context = Snapshot.of(files("l=->d d/a d/b other through=->l/a"))
    assert reads(copy(source), ContextPath(path), context) is expected


def test_a_hypothetical_edit_is_seen_by_what_reads_the_path() -> None:
    before = tree("src/a.py", "src/b.py", "README.md")
    after = with_edits(before, [ContextPath("src/a.py")])
    for source, is_same in (("src", False), ("README.md", True), ("src/b*", True), (".", False)):
        same = select(before, copy(source), listing="names") == select(after, copy(source), listing="names")
        assert same is is_same, source


def test_a_scan_has_to_follow_the_cleaned_sources() -> None:
    assert follow_paths([copy("./a d/../b"), copy("src/*.py /a")]) == ("a", "b", "src/*.py")
    assert follow_paths([copy("a/./b", parents=True)]) == ("a/b",)
    assert follow_paths([copy("a"), copy(".")]) is None
    assert follow_paths([]) == ()


def test_an_edit_deep_in_a_tree_finds_the_digests_of_the_rest_again() -> None:
    """Each directory keeps what a selection found below it, and only those above the edit forget."""
    before = tree(*(f"d{n}/e{m}/f" for n in range(5) for m in range(5)))
    selection = copy(".", "*.md")
    assert select(before, selection, listing="names") == select(before, selection, listing="names")
    after = with_edits(before, [ContextPath("d1/e1/f")])
    fresh = Snapshot.of(dict(after))
    assert select(after, selection, listing="names") == select(fresh, selection, listing="names")
