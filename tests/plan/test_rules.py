"""Rules of the user's own: what they take, where they put it, and what the Dockerfile says to that."""

import pytest

from devloop.context.snapshot import Entry, Snapshot
from devloop.plan.model import NeverRule, PathChange, SyncRule
from devloop.plan.rules import (
    Rules,
    compose_rules,
    contradictions,
    forced_plan,
    joined,
    rule_place,
    sort_changes,
)
from devloop.plan.sync import Blocked, SyncPlan, SyncWrite

STATIC = SyncRule("static", "/srv/static")
LOGO = PathChange("static/img/logo.svg", "modified")
CODE = PathChange("app.py", "modified")
TREE = {
    "": Snapshot.of(
        {"static/img/logo.svg": Entry("file", 0o644, "d1", 1), "app.py": Entry("file", 0o644, "d2", 1)}
    )
}


def test_a_rule_takes_what_is_below_its_path_and_leaves_the_rest_to_the_proof() -> None:
    ruled = sort_changes({"": [LOGO, CODE]}, [STATIC], [], "")
    assert ruled.forced == ((STATIC, LOGO),)
    assert ruled.rest == {"": (CODE,)}
    assert ruled.never is None


def test_the_longest_path_decides_between_two_rules() -> None:
    images = SyncRule("static/img", "/images")
    assert sort_changes({"": [LOGO]}, [STATIC, images], [], "").forced == ((images, LOGO),)


def test_a_never_rule_names_the_path_that_it_holds_back() -> None:
    assert sort_changes({"": [LOGO, CODE]}, [STATIC], [NeverRule("static")], "").never == LOGO.path


def test_rules_speak_of_the_main_context_alone() -> None:
    assert sort_changes({"other": [LOGO]}, [STATIC], [NeverRule("static")], "").forced == ()


@pytest.mark.parametrize(
    ("rule", "path", "place"),
    [
        (STATIC, "static/img/logo.svg", "/srv/static/img/logo.svg"),
        (SyncRule("./static/", "/srv/"), "static/a.css", "/srv/a.css"),
        (SyncRule("app.py", "/app/main.py"), "app.py", "/app/main.py"),
        (SyncRule(".", "/app"), "app.py", "/app/app.py"),
        (SyncRule("static", "../../etc"), "static/passwd", "/etc/passwd"),
    ],
)
def test_a_place_is_below_the_target_as_the_path_is_below_the_rule(
    rule: SyncRule, path: str, place: str
) -> None:
    assert rule_place(rule, path) == place


def test_what_went_is_removed_and_what_is_there_is_written_with_its_mode_and_content() -> None:
    gone = PathChange("static/old.css", "removed")
    plan = forced_plan(sort_changes({"": [LOGO, gone]}, [STATIC], [], ""), TREE, "")
    assert plan.writes == (
        SyncWrite("/srv/static/img/logo.svg", "file", 0o644, "", "static/img/logo.svg", digest="d1"),
    )
    assert plan.removals == ("/srv/static/old.css",)


def test_where_the_rest_is_blocked_nothing_is_synced() -> None:
    blocked = Blocked("app.py is read by RUN (line 4)")
    assert joined(SyncPlan((), ("/a",), "your rule"), blocked) is blocked


def test_a_rule_against_the_dockerfile_is_reported_with_both_places() -> None:
    ruled = sort_changes({"": [LOGO]}, [STATIC], [], "")
    elsewhere = SyncPlan((SyncWrite("/app/logo.svg", "file", 0o644, "", LOGO.path),), (), "")
    [(rule, sentence)] = contradictions(ruled, lambda _change: elsewhere)
    assert rule == STATIC
    assert sentence == (
        "the rule puts static/img/logo.svg to /srv/static/img/logo.svg, the Dockerfile to /app/logo.svg"
    )
    assert contradictions(ruled, lambda _change: Blocked("RUN (line 3) reads it"))[0][1].endswith(
        "though RUN (line 3) reads it"
    )
    same = SyncPlan((SyncWrite("/srv/static/img/logo.svg", "file", 0o644, "", LOGO.path),), (), "")
    assert contradictions(ruled, lambda _change: same) == ()


SERVICES = {
    "web": {
        "build": {"context": "/p", "dockerfile": "Dockerfile"},
        "develop": {
            "watch": [
                {"path": "/p/src", "action": "sync", "target": "/app/src", "ignore": ["gen/", "*.tmp"]},
                {"path": "/p/conf", "action": "sync+restart", "target": "/etc/app"},
                {"path": "/p/package.json", "action": "rebuild"},
                {"path": "/p/css", "action": "sync+exec", "target": "/css", "exec": {"command": "make css"}},
                {"path": "/elsewhere", "action": "sync", "target": "/x"},
            ]
        },
    },
    "db": {"image": "postgres"},
}


def test_the_rules_of_a_compose_file_are_those_of_the_service_that_builds_this() -> None:
    found = compose_rules(SERVICES, context="/p", dockerfile="/p/Dockerfile", target=None)
    assert found == (
        "web",
        Rules(
            (
                SyncRule("src", "/app/src", restart=False, ignore=("gen/", "*.tmp")),
                SyncRule("conf", "/etc/app", restart=True),
                SyncRule("css", "/css", restart=False, exec=("make", "css")),
            ),
            (NeverRule("package.json"),),
        ),
    )


def test_what_a_rule_of_a_compose_file_ignores_is_left_to_the_proof() -> None:
    rule = SyncRule("src", "/app/src", ignore=("gen/", "*.tmp"))
    paths = ("src/a.py", "src/gen/b.py", "src/c.tmp", "src/sub/c.tmp")
    changes = {"": [PathChange(path, "modified") for path in paths]}
    ruled = sort_changes(changes, (rule,), (), "")
    assert [change.path for _, change in ruled.forced] == ["src/a.py", "src/sub/c.tmp"]
    assert [change.path for change in ruled.rest[""]] == ["src/gen/b.py", "src/c.tmp"]


def test_another_dockerfile_target_or_context_has_no_rules() -> None:
    assert compose_rules(SERVICES, context="/p", dockerfile="/p/Dockerfile.dev", target=None) is None
    assert compose_rules(SERVICES, context="/p", dockerfile="/p/Dockerfile", target="dev") is None
    assert compose_rules(SERVICES, context="/q", dockerfile="/q/Dockerfile", target=None) is None


def test_two_services_of_one_build_leave_the_choice_open() -> None:
    twice = {**SERVICES, "worker": SERVICES["web"]}
    assert compose_rules(twice, context="/p", dockerfile="/p/Dockerfile", target=None) is None
