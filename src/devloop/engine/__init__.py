"""Docker: how a build is run and read, and how a container is made, replaced and watched.

`base` holds the values; `progress` and `provenance` read what BuildKit says and touch nothing;
`endpoint`, `buildx`, `images`, `containers` and `health` talk to the engine.
"""
