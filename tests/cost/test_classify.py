"""What stands around a command changes its price: cache mounts, earlier steps, shells, the user's table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devloop.cost.classify import THRESHOLD_SECONDS, classify, manifest_family
from devloop.cost.priors import CHEAP_PROGRAMS, PRIORS, Prior, matches
from devloop.cost.shell import commands_of

# --- the step as a whole ----------------------------------------------------------------------------------


def test_a_chain_is_as_expensive_as_its_most_expensive_command() -> None:
    step = classify("mkdir /x && apt-get update && apt-get install -y curl && npm i -g serve && ./setup.sh")
    assert (step.kind, step.family, step.bound, step.expensive) == ("apt-install", "apt", "network", True)
    assert step.kinds == ("cheap", "apt-update", "apt-install", "npm-global", "opaque")
    assert step.families == ("apt", "npm")


def test_seconds_of_different_families_add_up_and_an_install_includes_its_update() -> None:
    apt, npm = classify("apt-get install x").seconds, classify("npm i -g serve").seconds
    assert apt is not None
    assert npm is not None
    assert classify("apt-get update && apt-get install x && npm i -g serve").seconds == apt + npm


def test_of_branches_only_the_dearest_counts() -> None:
    text = "if [ -f yarn.lock ]; then yarn; elif [ -f pnpm-lock.yaml ]; then pnpm i; else npm ci; fi"
    assert classify(text).seconds == classify("yarn").seconds


def test_two_small_things_can_be_expensive_together() -> None:
    assert classify("uv sync").expensive is False
    assert classify("apk add git").expensive is False
    assert classify("apk add git && uv sync").expensive is True


def test_hidden_work_keeps_a_cheap_step_open() -> None:
    step = classify("mkdir /x && ./setup.sh && chmod +x /y")
    assert (step.kind, step.expensive, step.seconds, step.bound) == ("opaque", None, None, "unknown")


def test_a_step_that_only_sets_the_shell_up_is_cheap() -> None:
    step = classify("set -eux")
    assert (step.kind, step.expensive, step.family) == ("cheap", False, None)
    assert step.seconds is not None
    assert step.seconds < 1


def test_the_range_encloses_the_median() -> None:
    step = classify("pip install -r requirements.txt")
    assert (step.seconds_low, step.seconds, step.seconds_high) == (4, 20, 180)


def test_the_reason_names_the_command_but_never_its_arguments() -> None:
    step = classify("pip install --index-url https://user:hunter2@example.test/simple secret-package")
    assert step.reason == "pip install: fetches wheels, and compiles where there is none"
    assert "hunter2" not in repr(step)
    assert "hunter2" not in repr(classify("echo hunter2 | ./login hunter2"))


def test_the_threshold_is_the_callers() -> None:
    assert classify("apk add git", threshold_seconds=2).expensive is True
    assert classify("npm ci", threshold_seconds=60).expensive is False
    assert classify("git clone x", threshold_seconds=THRESHOLD_SECONDS).expensive is True


# --- cache mounts -----------------------------------------------------------------------------------------


def test_a_cache_mount_leaves_a_part_of_the_price() -> None:
    cold, warm = classify("npm ci"), classify("npm ci", has_cache_mount=True)
    assert cold.seconds is not None
    assert warm.seconds is not None
    assert 0 < warm.seconds < cold.seconds
    assert "cache mount" in warm.reason


def test_a_cache_mount_can_make_a_small_install_cheap() -> None:
    assert classify("bun install").expensive is True
    assert classify("bun install", has_cache_mount=True).expensive is False


# --- what may be compared ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("npm ci && rm -rf /tmp/x", "npm-install"),
        ("pip install x && apt-get install y && apt-get clean", "apt-install+pip-install"),
        ("apt-get install y && pip install x", "apt-install+pip-install"),
        ("mkdir /x", "cheap"),
        ("set -e", "cheap"),
        ("./setup.sh", None),
        ("npm ci && ./setup.sh", None),
    ],
)
def test_steps_with_the_same_kinds_of_work_are_comparable(text: str, name: str | None) -> None:
    assert classify(text).comparable_kind == name


def test_neither_a_mount_nor_a_second_phase_compares_with_the_full_work() -> None:
    first = classify("uv sync --no-install-project", has_cache_mount=True)
    second = classify("uv sync", earlier=(first,), source_copied_since=True)
    assert first.comparable_kind == "uv-sync/mount"
    assert second.comparable_kind == "uv-sync/second"


# --- the phase rule ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("uv sync --frozen --no-install-project", "uv sync --frozen"),
        ("poetry install --no-root", "poetry install"),
        ("pdm install --no-self", "pdm install"),
        ("pip install -r requirements.txt", "pip install ."),
        ("pip install -r requirements.txt && rm -rf /tmp/x", "pip install -e ."),
        ("apt-get install -y python3-pip && pip3 install -r requirements.txt", "pip install ."),
        ("mvn dependency:go-offline", "mvn package"),
        ("./gradlew dependencies", "./gradlew build"),
        ("mix deps.get && mix deps.compile", "mix compile"),
        ("cargo chef cook --release", "cargo build --release"),
        ("echo 'fn main(){}' > src/main.rs && cargo build --release", "cargo build --release"),
        ("stack build --only-dependencies", "stack build"),
        ("pnpm fetch", "pnpm install -r"),
        ("composer install --no-scripts", "composer install"),
    ],
)
def test_after_the_dependencies_the_project_itself_is_a_cheap_second_phase(first: str, second: str) -> None:
    earlier = (classify("useradd app"), classify(first))
    alone = classify(second)
    later = classify(second, earlier=earlier, source_copied_since=True)
    assert alone.expensive is True or alone.kind == "uv-sync"
    assert later.expensive is False
    assert later.is_second_phase
    assert "second phase" in later.reason
    assert not classify(second, earlier=earlier, source_copied_since=False).is_second_phase


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("pip install -r requirements.txt", "pip install -r dev.txt"),
        ("npm ci", "npm ci --prefix docs"),
        ("go mod download", "go build ./..."),
        ("yarn install", "yarn workspaces focus --production"),
        ("npm ci", "npm run build"),
        ("cargo install sqlx-cli", "cargo build"),
        ("apt-get install -y a", "apt-get install -y b"),
    ],
)
def test_other_work_of_the_same_family_stays_expensive(first: str, second: str) -> None:
    assert classify(second, earlier=(classify(first),), source_copied_since=True).expensive is True


def test_a_second_phase_beside_new_work_is_as_expensive_as_the_new_work() -> None:
    step = classify(
        "uv sync && npm ci", earlier=(classify("uv sync --no-install-project"),), source_copied_since=True
    )
    assert (step.kind, step.expensive, step.is_second_phase) == ("npm-install", True, False)


# --- shells and forms -------------------------------------------------------------------------------------


def test_the_words_of_an_exec_form_are_not_read_as_shell() -> None:
    assert classify(("echo", "x && npm ci")).kind == "cheap"
    assert classify(("sh", "-c", "x=1; npm ci")).kind == "npm-install"


@pytest.mark.parametrize("shell", [("/bin/bash", "-o", "pipefail", "-c"), (), ("powershell", "-Command")])
def test_another_shell_runs_the_same_programs(shell: tuple[str, ...]) -> None:
    assert classify("npm ci", shell=shell).kind == "npm-install"


def test_windows_paths_lead_to_the_program() -> None:
    shell = ("powershell", "-Command")
    assert classify(r"C:\nodejs\npm.cmd ci; Write-Host done", shell=shell).kind == "npm-install"


def test_the_options_of_run_are_no_part_of_the_command() -> None:
    text = (
        "--mount=type=cache,target=/root/.npm --mount=type=bind,source=a,target=b --security=insecure npm ci"
    )
    assert classify(text).kind == "npm-install"


# --- the table --------------------------------------------------------------------------------------------


def test_a_users_row_in_front_of_the_table_decides() -> None:
    mine = Prior(
        "assets", "acme", "cpu", (5, 50, 90), ("acme-build", "make assets"), "renders every icon",
        cheap=(("acme-build --dry-run", "only looks"),),
    )  # fmt: skip
    table = (mine, *PRIORS)
    assert classify("make assets").expensive is None
    step = classify("make assets", table=table)
    assert (step.kind, step.seconds, step.expensive) == ("assets", 50, True)
    assert classify("acme-build --dry-run", table=table).expensive is False
    assert classify("npm ci", table=table).kind == "npm-install"


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: f"{prior.kind}: {prior.spellings[:1]}")
def test_every_row_is_complete_and_in_order(prior: Prior) -> None:
    low, median, high = prior.seconds
    assert 0 < low <= median <= high
    assert 0 < prior.warm <= 1
    assert prior.reason
    assert not prior.reason.endswith(".")
    assert prior.spellings or prior.cheap
    kinds = {row.kind for row in PRIORS}
    assert set(prior.after) <= kinds


def test_no_spelling_stands_twice_in_the_table() -> None:
    spellings = [spelling for prior in PRIORS for spelling in prior.spellings]
    spellings += [spelling for prior in PRIORS for spelling, _ in prior.cheap]
    assert len(spellings) == len(set(spellings))


def test_no_program_is_called_cheap_twice() -> None:
    programs = [program for names, _ in CHEAP_PROGRAMS for program in names.split("|")]
    assert len(programs) == len(set(programs))


@pytest.mark.parametrize(
    ("spelling", "text", "is_match"),
    [
        ("npm ci", "npm ci", True),
        ("npm ci", "npm --prefix x ci --no-audit", True),
        ("npm ci", "npm run ci", False),
        ("npm ci", "npm", False),
        ("mvn|mvnw", "./mvnw anything", True),
        ("pip install -r*", "pip install -r x", True),
        ("pip install -r*", "pip install x", False),
        ("pip install !-r*", "pip install -r x", False),
        ("gradle @*Jar|*jar", "gradle :api:bootJar", True),
        ("yarn $", "yarn --immutable", True),
        ("yarn $", "yarn build", False),
        ("npm i lodash $", "npm i lodash", True),
        ("npm i lodash $", "npm i lodash react", False),
        ("a b|c d", "a c d", True),
        ("a b|c d", "a d c", False),
    ],
)
def test_a_spelling_says_what_it_matches(spelling: str, text: str, is_match: bool) -> None:
    assert matches(spelling, commands_of(text)[0]) is is_match


@pytest.mark.parametrize(
    ("path", "families"),
    [
        ("package.json", ("bun", "npm", "pnpm", "yarn")),
        ("web/package-lock.json", ("npm",)),
        ("requirements.txt", ("pip",)),
        ("requirements-dev.txt", ("pip",)),
        ("requirements/prod.txt", ("pip",)),
        ("go.mod", ("go",)),
        ("Cargo.lock", ("cargo",)),
        ("uv.lock", ("uv",)),
        ("pyproject.toml", ("pdm", "pip", "poetry", "uv")),
        ("Gemfile.lock", ("bundler",)),
        ("composer.json", ("composer",)),
        ("api/pom.xml", ("maven",)),
        ("build.gradle.kts", ("gradle",)),
        ("gradle/libs.versions.toml", ("gradle",)),
        ("src/Api/Api.csproj", ("dotnet",)),
        ("mix.lock", ("mix",)),
        ("src/main.py", ()),
        ("prod.txt", ()),
        ("Dockerfile", ()),
    ],
)
def test_a_manifest_belongs_to_the_families_that_install_from_it(
    path: str, families: tuple[str, ...]
) -> None:
    assert manifest_family(path) == families


# --- laws -------------------------------------------------------------------------------------------------

STEPS = st.sampled_from(
    [
        "npm ci",
        "pip install x",
        "mkdir /x",
        "./x.sh",
        "apt-get update",
        "uv sync",
        "make",
        "echo hi",
        "frobnicate",
    ]
)


@given(st.lists(STEPS, min_size=1, max_size=5), STEPS)
def test_adding_a_command_never_makes_a_step_cheaper(steps: list[str], more: str) -> None:
    rank = {False: 0, None: 1, True: 2}
    before, after = classify(" && ".join(steps)), classify(" && ".join([*steps, more]))
    assert rank[after.expensive] >= rank[before.expensive]
    if before.seconds is not None and after.seconds is not None:
        assert after.seconds >= before.seconds


@given(st.lists(STEPS, min_size=1, max_size=5))
def test_the_way_commands_are_joined_does_not_change_what_they_are(steps: list[str]) -> None:
    forms = [" && ".join(steps), "; ".join(steps), "\n".join(steps), f"sh -c '{' && '.join(steps)}'"]
    forms.append("<<EOF\n" + "\n".join(steps) + "\nEOF\n")
    verdicts = {(c.kind, c.expensive, c.seconds, c.kinds) for c in map(classify, forms)}
    assert len(verdicts) == 1


@given(st.text(max_size=40))
def test_any_text_has_a_classification(text: str) -> None:
    step = classify(text)
    assert (step.expensive is None) == (step.seconds is None)
    assert step.reason
