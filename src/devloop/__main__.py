"""The entry point: answers `--version` at once, everything else through `devloop.cli`."""

import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["--version"]:
        from devloop import __version__

        sys.stdout.write(f"devloop {__version__}\n")
        return
    from devloop.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
