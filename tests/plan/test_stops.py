"""Slow stops are told with their cause; databases are not hurried."""

import pytest

from devloop.plan.stops import diagnose_stop, grace_seconds


@pytest.mark.parametrize(
    ("command", "cause", "way_out"),
    [
        (("/bin/sh", "-c", "python app.py"), "a shell (sh -c)", "JSON list"),
        (("bash", "-ec", "a && b"), "a shell (bash -c)", "exec"),
        (("/bin/sh", "/start.sh"), "a shell script (/bin/sh /start.sh)", 'exec "$@"'),
        (("npm", "start"), "npm", "node"),
        (("python", "app.py"), "python does not handle SIGTERM", "init = true"),
        ((), "its first process", "init = true"),
    ],
)
def test_a_slow_stop_has_a_cause_and_a_way_out(command: tuple[str, ...], cause: str, way_out: str) -> None:
    why, hint = diagnose_stop(command)
    assert cause in why
    assert way_out in hint


def test_a_database_keeps_the_grace_period_of_docker() -> None:
    assert grace_seconds(("docker-entrypoint.sh", "postgres"), 2.0) == 10.0
    assert grace_seconds(("/usr/bin/redis-server", "/etc/redis.conf"), 20.0) == 20.0
    assert grace_seconds(("uvicorn", "main:app"), 2.0) == 2.0
