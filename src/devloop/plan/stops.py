"""Why a container was slow to stop, read from its command; and which containers must not be hurried.

PID 1 has no default action for SIGTERM: a program that does not handle it is killed when the grace period
ends. The usual causes are a shell or a package manager in front of the program.
"""

from collections.abc import Sequence

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh"})
_RUNNERS = frozenset({"npm", "yarn", "pnpm", "npx"})

DATABASES = frozenset(
    {
        "postgres", "mysqld", "mariadbd", "mongod", "redis-server", "valkey-server", "rabbitmq-server",
        "kafka-server-start.sh", "elasticsearch", "opensearch", "cassandra", "influxd", "clickhouse-server",
        "etcd", "consul", "cockroach", "neo4j", "couchdb", "minio", "nats-server", "zookeeper",
    }
)  # fmt: skip
"""Programs that lose data or need a repair when they are not given the time to end."""

DATABASE_GRACE_SECONDS = 10.0


def grace_seconds(command: Sequence[str], wanted: float) -> float:
    """Return the grace period for a container with this command: a database keeps at least docker's own."""
    programs = {word.rpartition("/")[2] for word in command}
    return max(wanted, DATABASE_GRACE_SECONDS) if programs & DATABASES else wanted


def diagnose_stop(command: Sequence[str]) -> tuple[str, str]:
    """Return why a program did not end on SIGTERM, and what mends it."""
    program = command[0].rpartition("/")[2] if command else ""
    if program in _SHELLS and len(command) > 2 and command[1].startswith("-") and "c" in command[1]:
        return (
            f"its first process is a shell ({program} -c), which does not pass the signal on",
            'write CMD as a JSON list (CMD ["python", "app.py"]), or start the program with exec',
        )
    if program in _SHELLS:
        return (
            f"its first process is a shell script ({' '.join(command[:2])})",
            'end the script with exec "$@" or exec PROGRAM, so that the program gets the signal',
        )
    if program in _RUNNERS:
        return (
            f"its first process is {program}, which is slow to pass the signal on or does not",
            f'start the program itself (CMD ["node", "server.js"]) instead of {program}',
        )
    return (
        f"{program or 'its first process'} does not handle SIGTERM",
        "handle the signal in the program, set init = true, or a STOPSIGNAL that it knows",
    )
