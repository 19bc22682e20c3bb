"""The stable names of what devloop warns about, with what each says, and of what the doctor finds.

Each can be silenced by the configuration (`silence`, for the doctor `doctor.ignore`) and by a comment
`# devloop: ignore=CODE` in the Dockerfile. They stand together here because a session must not take a
comment that is meant for the doctor for a mistake.
"""

from collections.abc import Mapping

WARNINGS: Mapping[str, str] = {
    "dependency-install": "an edit of a manifest makes an install run again",
    "manifest-without-dependency-change": "a manifest without a changed dependency makes an install run",
    "source-above-install": "an edit of a file that an install does not need makes it run again",
    "build-from-source": "an edit of the source makes a long build run again",
    "variable-above-step": "a changed variable makes an expensive step below it run again",
    "expensive-step": "an expensive step runs again for another reason",
    "heavy-context": "files that no image needs are sent to the builder",
}

FINDINGS = frozenset(
    {
        "add-for-local-files",
        "cache-mount-forgotten",
        "chown-after-copy",
        "context-junk",
        "floating-base",
        "no-builder-stage",
        "no-cache-mount",
        "no-ignore-file",
        "no-reloader",
        "package-cache-left",
        "package-manager-as-pid-1",
        "secret-in-context",
        "shell-form-command",
        "source-before-install",
        "source-before-packages",
        "volatile-variable",
        "whole-manifest-above-install",
    }
)

CODES = FINDINGS | WARNINGS.keys()
