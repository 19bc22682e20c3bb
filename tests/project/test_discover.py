"""Where a project's files are found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devloop.project.discover import Location, ProjectNotFound, given_build_args, locate, shown
from devloop.project.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "Dockerfile").write_text("FROM scratch\n")
    return root


def place(path: Path, name: str = "Dockerfile") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_text("FROM scratch\n")
    return path / name


# Dockerfile and context


def test_a_folder_is_dockerfile_and_context(folder: Path) -> None:
    found = locate(folder, Settings())
    assert (found.folder, found.dockerfile, found.context) == (folder, folder / "Dockerfile", folder)
    assert (found.name, found.shown_dockerfile) == ("shop", "Dockerfile")


def test_a_relative_path_becomes_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert locate(Path("shop"), Settings()) == locate(folder, Settings())
    monkeypatch.chdir(folder)
    assert locate(Path(), Settings()) == locate(folder, Settings())


def test_a_dockerfile_may_be_named_itself(folder: Path) -> None:
    other = place(folder, "web.Dockerfile")
    found = locate(other, Settings())
    assert (found.dockerfile, found.context, found.shown_dockerfile) == (other, folder, "web.Dockerfile")


def test_a_lower_case_dockerfile_is_found_as_buildkit_finds_it(tmp_path: Path) -> None:
    place(tmp_path, "dockerfile")
    assert locate(tmp_path, Settings()).dockerfile == tmp_path / "dockerfile"


def test_the_upper_case_name_wins(folder: Path) -> None:
    place(folder, "dockerfile")
    assert locate(folder, Settings()).dockerfile == folder / "Dockerfile"


def test_file_and_context_are_relative_to_the_folder(folder: Path) -> None:
    inner = place(folder / "docker", "prod")
    (folder / "src").mkdir()
    found = locate(folder, Settings(file="docker/prod", context="src"))
    assert (found.dockerfile, found.context, found.shown_dockerfile) == (inner, folder / "src", "docker/prod")


def test_a_context_outside_of_the_folder_is_possible(folder: Path) -> None:
    assert locate(folder, Settings(context="..")).context == folder.parent


def test_a_dockerfile_elsewhere_is_shown_whole(folder: Path, tmp_path: Path) -> None:
    other = place(tmp_path / "other")
    assert locate(folder, Settings(file="../other/Dockerfile")).shown_dockerfile == str(other)


def test_a_linked_folder_is_known_by_its_real_place(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert locate(tmp_path / "link", Settings()) == locate(folder, Settings())


def test_a_linked_dockerfile_stays_the_link(folder: Path, tmp_path: Path) -> None:
    """Its ignore file lies beside the link."""
    real = place(tmp_path / "shared")
    (folder / "Dockerfile").unlink()
    (folder / "Dockerfile").symlink_to(real)
    assert locate(folder, Settings()).dockerfile == folder / "Dockerfile"


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        ("nowhere", Settings(), "nowhere does not exist"),
        ("empty", Settings(), "there is no Dockerfile in "),
        ("shop", Settings(file="other"), "there is no file "),
        ("shop", Settings(context="other"), "the build context other is not a folder"),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(
    folder: Path, path: str, settings: Settings, message: str
) -> None:
    (folder.parent / "empty").mkdir()
    with pytest.raises(ProjectNotFound, match=re.escape(message)) as found:
        locate(folder.parent / path, settings)
    assert found.value.hint


# Names

IMAGE_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop", "shop"),
        ("My Shop", "my-shop"),
        ("größe", "gr-e"),
        ("a..b", "a.b"),
        ("a.-b", "a.b"),
        ("a___b", "a_b"),
        ("_private_", "private"),
        ("...", "project"),
        ("日本", "project"),
    ],
)
def test_the_folders_name_becomes_a_name_for_images(tmp_path: Path, name: str, expected: str) -> None:
    place(tmp_path / name)
    found = locate(tmp_path / name, Settings()).name
    assert found == expected
    assert IMAGE_NAME.fullmatch(found)


def test_a_name_of_the_users_is_taken_as_it_is(folder: Path) -> None:
    assert locate(folder, Settings(name="web_api.v2")).name == "web_api.v2"


@pytest.mark.parametrize("name", ["My Shop", "Shop", "a..b", "-a", "a/b", ""])
def test_a_name_that_no_image_can_have_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ProjectNotFound, match="cannot be the name of an image"):
        locate(folder, Settings(name=name))


def test_target_context_and_dockerfile_make_the_identity(folder: Path, tmp_path: Path) -> None:
    place(folder, "other")
    found: list[Location] = [
        locate(folder, Settings()),
        locate(folder, Settings(target="dev")),
        locate(folder, Settings(file="other")),
        locate(folder, Settings(context="..")),
    ]
    assert len({one.identity for one in found}) == 4
    assert locate(folder, Settings(name="renamed")).identity == found[0].identity


def test_the_git_root_is_the_nearest_one_above(folder: Path) -> None:
    assert locate(folder, Settings()).git_root is None
    (folder.parent / ".git").mkdir()
    assert locate(folder, Settings()).git_root == folder.parent
    (folder / ".git").write_text("gitdir: elsewhere\n")
    assert locate(folder, Settings()).git_root == folder


# Ignore files


def test_without_an_ignore_file_there_is_none(folder: Path) -> None:
    assert locate(folder, Settings()).ignore_file() is None


def test_the_dockerfiles_own_ignore_file_wins_even_when_it_is_empty(folder: Path) -> None:
    location = locate(folder, Settings())
    (folder / ".dockerignore").write_text("*\n")
    assert location.ignore_file() == folder / ".dockerignore"
    (folder / "Dockerfile.dockerignore").write_text("")
    assert location.ignore_file() == folder / "Dockerfile.dockerignore"


def test_the_general_ignore_file_lies_in_the_context(folder: Path) -> None:
    (folder / "src").mkdir()
    (folder / ".dockerignore").write_text("*\n")
    location = locate(folder, Settings(context="src"))
    assert location.ignore_file() is None
    assert location.ignore_candidates() == (
        folder / "Dockerfile.dockerignore",
        folder / "src" / ".dockerignore",
    )


# Small things


def test_a_path_is_shown_as_a_user_would_write_it() -> None:
    assert shown(Path("/a/b/c"), Path("/a")) == "b/c"
    assert shown(Path("/x/y"), Path("/a")) == "/x/y"


def test_build_arguments_take_their_values_from_the_environment_where_they_have_none() -> None:
    settings = Settings(build_arg={"A": "1", "B": None, "C": None})
    assert given_build_args(settings, {"B": "2", "D": "4"}) == (("A", "1"), ("B", "2"))


def test_the_source_date_is_passed_as_buildx_passes_it_and_a_given_one_wins() -> None:
    environ = {"SOURCE_DATE_EPOCH": "1"}
    assert given_build_args(Settings(), environ) == (("SOURCE_DATE_EPOCH", "1"),)
    settings = Settings(build_arg={"SOURCE_DATE_EPOCH": "2"})
    assert given_build_args(settings, environ) == (("SOURCE_DATE_EPOCH", "2"),)
