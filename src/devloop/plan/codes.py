"""The stable names of what devloop warns about, with what each says.

Each can be silenced by the key `silence` of the configuration and by a comment `# devloop: ignore=CODE`.
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

CODES = frozenset(WARNINGS)
