"""Every setting with its default. The configuration file and the flags use the same names."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from devloop.plan.model import NeverRule, PriorRule, SyncRule

Output = Literal["auto", "live", "plain", "json"]
OnExpensive = Literal["build", "wait", "ask"]


BOTS: Final = (
    "[bot]",
    "dependabot",
    "renovate",
    "greenkeeper",
    "pre-commit-ci",
    "github-actions",
    "pyup-bot",
    "snyk-bot",
    "allcontributors",
    "semantic-release",
    "weblate",
    "mergify",
)


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """How git's history is read: a commit is a machine's when name or address of its author hold a `bots`.

    Upper and lower case are alike.
    """

    bots: list[str] = field(default_factory=lambda: list(BOTS))


@dataclass(frozen=True, slots=True)
class DoctorSettings:
    """What the doctor leaves out: the codes of findings that this project does not want to hear of."""

    ignore: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user can set. Paths are relative to the project's folder.

    The build: `file`, `context`, `target`, `build_arg`, `build_context`, `platform`, `network` (of RUN
    steps), `add_host`, `secret`, `ssh`, `no_cache`, `pull`. The container: `run`, `name`, `publish`,
    `env`, `env_file`, `volume`, `run_network`, `command`, `user`, `init`, `run_option`, `stop_seconds`,
    `health_seconds`, `rollback`, `remove`. Bringing it up to date: `live_sync`, `sync`, `never`,
    `restart`, `supervisor`, `background_build`, `background_seconds`. Expensive edits: `on_expensive`,
    `wait_share`, `wait_most_seconds`. The screen: `output`, `warn_seconds`, `prior`, `silence`. Watching:
    `poll`, `quiet_seconds`, `maximum_wait_seconds`. Looking back: `replay`, `doctor`.
    """

    # The build
    file: str | None = None
    context: str | None = None
    target: str | None = None
    build_arg: dict[str, str | None] = field(default_factory=dict)
    build_context: dict[str, str] = field(default_factory=dict)
    platform: str | None = None
    network: str | None = None
    add_host: list[str] = field(default_factory=list)
    secret: list[str] = field(default_factory=list)
    ssh: list[str] = field(default_factory=list)
    no_cache: bool = False
    pull: bool = False
    # The container
    run: bool = True
    name: str | None = None
    publish: list[str] = field(default_factory=list)
    env: dict[str, str | None] = field(default_factory=dict)
    env_file: list[str] = field(default_factory=list)
    volume: list[str] = field(default_factory=list)
    run_network: str | None = None
    command: list[str] | None = None
    user: str | None = None
    init: bool = False
    run_option: dict[str, Any] = field(default_factory=dict)
    stop_seconds: float = 2.0
    health_seconds: float = 30.0
    rollback: bool = True
    remove: bool = True
    # Bringing it up to date
    live_sync: bool = True
    sync: list[SyncRule] = field(default_factory=list)
    never: list[NeverRule] = field(default_factory=list)
    restart: str = "auto"
    supervisor: bool = True
    background_build: bool = True
    background_seconds: float = 5.0
    # Expensive edits
    on_expensive: OnExpensive = "wait"
    wait_share: float = 0.1
    wait_most_seconds: float = 10.0
    # The screen
    output: Output = "auto"
    warn_seconds: float = 5.0
    prior: list[PriorRule] = field(default_factory=list)
    silence: list[str] = field(default_factory=list)
    # Watching
    poll: bool = False
    quiet_seconds: float | None = None
    maximum_wait_seconds: float | None = None
    # Looking back
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    doctor: DoctorSettings = field(default_factory=DoctorSettings)

    def env_values(self) -> tuple[tuple[str, str], ...]:
        """Return the variables of the container that have a value of their own."""
        return tuple((name, value) for name, value in self.env.items() if value is not None)
