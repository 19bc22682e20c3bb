import pytest

from devloop.watch.ephemeral import EPHEMERAL_NAMES, is_ephemeral, is_ephemeral_path


@pytest.mark.parametrize(
    "name",
    [
        "4913",
        ".main.py.swp",
        ".main.py.swo",
        ".main.py.swx",
        "main.py~",
        ".main.py.un~",
        "main.py___jb_tmp___",
        "main.py___jb_old___",
        ".idea",
        ".#main.py",
        "#main.py#",
        ".main.py.kate-swp",
        ".goutputstream-X4Z2T3",
        ".~lock.sheet.ods#",
        "app-go-tmp-umask",
        "main.py.tmp.4711.1760000000000",
        ".nfs000000000012ab3400000001",
        ".fuse_hidden0000001200000001",
        ".DS_Store",
    ],
)
def test_a_passing_name_of_an_editor_is_known(name: str) -> None:
    assert is_ephemeral(name)


@pytest.mark.parametrize(
    "name",
    [
        "main.py",
        "49130",
        "movie.swp",
        ".swiftlint.yml",
        "logo.swf",
        ".env",
        "#notes",
        "notes#",
        "c#",
        ".gitignore",
        "main.tmp",
        "data.tmp.1",
        "jb_tmp",
        "",
        "a\nb",
        ".ideas",
    ],
)
def test_a_name_that_a_project_may_use_is_left_alone(name: str) -> None:
    assert not is_ephemeral(name)


def test_one_passing_component_makes_the_whole_path_passing() -> None:
    assert is_ephemeral_path(".idea/workspace.xml")
    assert is_ephemeral_path("src/app/main.py~")
    assert not is_ephemeral_path("src/app/main.py")
    assert not is_ephemeral_path("")


def test_every_name_in_the_table_says_who_makes_it_and_why() -> None:
    assert all(name.maker and name.why for name in EPHEMERAL_NAMES)
    assert len({name.pattern for name in EPHEMERAL_NAMES}) == len(EPHEMERAL_NAMES)
