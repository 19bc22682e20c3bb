"""The second stage of Node programs: what a plain project in TypeScript gets, and what stops it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from devloop.doctor import rules_stages
from support.doctor_rules import Patient, examiner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def examine(tmp_path: Path) -> Callable[..., Patient]:
    return examiner(tmp_path, rules_stages.RULES)


TEXT = (
    "FROM node:20\nWORKDIR /app\nENV MODE=a\nCOPY package*.json ./\n"
    "RUN --mount=type=cache,target=/root/.npm \\\n    npm ci --no-audit\n"
    'COPY . .\nRUN npm run build\nUSER node\nCMD ["node", "dist/main.js"]\n'
)


def package(**more: object) -> str:
    return json.dumps(
        {
            "scripts": {"build": "rimraf dist && tsc -p tsconfig.build.json"},
            "dependencies": {"express": "5"},
            "devDependencies": {"typescript": "5", "pino-pretty": "1"},
            **more,
        }
    )


def lock(**more: dict[str, Any]) -> str:
    packages: dict[str, Any] = {
        "": {},
        "node_modules/express": {"version": "5.0.0", "resolved": "https://example.com/express.tgz"},
        "node_modules/typescript": {"version": "5.0.0", "dev": True},
        "node_modules/pino-pretty": {"version": "1.0.0", "dev": True, "hasInstallScript": True},
    }
    return json.dumps({"lockfileVersion": 3, "packages": {**packages, **more}})


FILES = {
    "package.json": package(),
    "package-lock.json": lock(),
    "tsconfig.build.json": '{\n  // settings\n  "compilerOptions": {"outDir": "./dist", /* x */},\n}\n',
    "src/main.ts": "import express from 'express';\nimport type { B } from 'typescript';\nimport './a';\n",
    "src/a.ts": "import { readFile } from 'node:fs/promises';\nexport const a = 1;\n",
    "src/a.test.ts": "import { test } from 'vitest';\n",
    "README.md": "x",
    "eslint.config.mjs": "x",
    ".dockerignore": "Dockerfile\n.dockerignore\n",
}


def test_manifests_a_smaller_install_and_the_output_make_the_last_stage(
    examine: Callable[..., Patient],
) -> None:
    assert examine(TEXT, FILES).changes("no-builder-stage") == (
        "-FROM node:20\n"
        "+FROM node:20 AS build\n"
        "+\n"
        "+FROM node:20\n"
        "+WORKDIR /app\n"
        "+ENV MODE=a\n"
        "+COPY package*.json ./\n"
        "+RUN --mount=type=cache,target=/root/.npm \\\n"
        "+    npm ci --omit=dev --no-audit\n"
        "+COPY --from=build /app/dist /app/dist"
    )


def test_manifests_that_come_with_the_source_are_copied_by_name(examine: Callable[..., Patient]) -> None:
    text = TEXT.replace("COPY package*.json ./\n", "COPY . .\n").replace(
        "COPY . .\nRUN npm run", "RUN npm run"
    )
    files = {**FILES, ".npmrc": "fund=false\n"}
    assert "+COPY package.json package-lock.json .npmrc ./\n+RUN" in examine(text, files).changes(
        "no-builder-stage"
    )


def test_a_program_that_needs_no_package_and_no_other_program_gets_a_slim_base(
    examine: Callable[..., Patient],
) -> None:
    files = {
        **FILES,
        "package.json": package(dependencies={}),
        "package-lock.json": lock(**{"node_modules/express": {"version": "5", "dev": True}}),
        "src/main.ts": "import { createServer } from 'http';\n",
    }
    assert "+FROM node:20-slim\n" in examine(TEXT, files).changes("no-builder-stage")
    for base in ("node:20-alpine", "node:20-slim", "node:lts"):
        assert f"+FROM {base}\n" in examine(TEXT.replace("node:20", base), files).changes("no-builder-stage")
    files["src/a.ts"] = "import { execFile } from 'child_process';\n"
    assert "+FROM node:20\n" in examine(TEXT, files).changes("no-builder-stage")


def test_a_script_that_only_starts_node_is_followed(examine: Callable[..., Patient]) -> None:
    scripts = {"build": "tsc --outDir dist", "start": "NODE_ENV=production node dist/main.js"}
    files = {**FILES, "package.json": package(scripts=scripts), "tsconfig.json": "{}"}
    text = TEXT.replace('["node", "dist/main.js"]', '["npm", "start"]')
    assert "+COPY --from=build /app/dist /app/dist" in examine(text, files).changes("no-builder-stage")


@pytest.mark.parametrize(
    "command", ['["npx", "serve", "-s", "dist"]', '["npx", "vite", "preview"]', "serve dist"]
)
def test_a_web_server_for_built_files_is_a_choice(examine: Callable[..., Patient], command: str) -> None:
    text = TEXT.replace('["node", "dist/main.js"]', command)
    assert "web server" in examine(text, FILES).stops("no-builder-stage")


STOPS_TEXT = {
    "another installer": ("npm ci --no-audit", "npm install"),
    "an install of a part": ("npm ci --no-audit", "npm ci --omit=optional"),
    "a mount of the context": ("type=cache,target=/root/.npm", "type=bind,target=/x"),
    "one more step": ("USER node", "RUN npm prune\nUSER node"),
    "one step before": ("COPY . .", "COPY . .\nRUN npm rebuild"),
    "another folder": ("WORKDIR /app", "WORKDIR /"),
    "no folder of its own": ("dist/main.js", "main.js"),
    "something is loaded first": ('"node", ', '"node", "-r", "dotenv/config", '),
    "a private base": ("node:20", "example.com/node:20"),
    "manifests elsewhere": ("COPY package*.json ./", "COPY package*.json /other/"),
    "a health check by another program": ("USER node", "HEALTHCHECK CMD wget localhost"),
    "a user above": ("COPY . .", "USER node\nCOPY . ."),
}


@pytest.mark.parametrize(("old", "new"), STOPS_TEXT.values(), ids=list(STOPS_TEXT))
def test_steps_that_are_not_plain_stop_the_proposal(
    examine: Callable[..., Patient], old: str, new: str
) -> None:
    assert examine(TEXT.replace(old, new), FILES).stops("no-builder-stage") != ""


TSC = "tsconfig.build.json"
STOPS_FILES: dict[str, dict[str, str]] = {
    "a hook": {"package.json": package(scripts={"build": "tsc", "postinstall": "x"})},
    "workspaces": {"package.json": package(workspaces=["a"])},
    "imports by name": {"package.json": package(imports={"#a": "./src/a.js"})},
    "another build": {"package.json": package(scripts={"build": "vite build"})},
    "more than tsc": {
        "package.json": package(scripts={"build": "tsc -p tsconfig.build.json && cp -r views dist"})
    },
    "a script before it": {"package.json": package(scripts={"build": "tsc", "prebuild": "x"})},
    "an option of tsc": {"package.json": package(scripts={"build": "tsc --build"})},
    "a second manifest": {"web/package.json": "{}"},
    "no lock": {"package-lock.json": "{}"},
    "a native package": {
        "package-lock.json": lock(**{"node_modules/sharp": {"version": "1", "hasInstallScript": True}})
    },
    "a package of git": {
        "package-lock.json": lock(**{"node_modules/a": {"resolved": "git+ssh://git@example.com/a.git"}})
    },
    "a local package": {"package-lock.json": lock(**{"node_modules/a": {"link": True, "resolved": "a"}})},
    "a peer for development": {
        "package-lock.json": lock(
            **{"node_modules/pino": {"version": "1", "peerDependenciesMeta": {"pino-pretty": {}}}}
        )
    },
    "settings elsewhere": {TSC: '{"extends": "./tsconfig.json"}'},
    "no output": {TSC: '{"compilerOptions": {"outDir": "dist", "noEmit": true}}'},
    "output beside the source": {TSC: '{"compilerOptions": {"outDir": "."}}'},
    "broken settings": {TSC: "{"},
    "a template": {"views/a.html": "x"},
    "a script": {"src/b.js": "x"},
    "the prose is opened": {"src/a.ts": "readFile('README.md')"},
    "the source is opened": {"src/a.ts": "glob('src/**/*.ts')"},
    "a package for development is named": {"src/a.ts": "pino({ transport: { target: 'pino-pretty' } })"},
    "a package for development is imported": {"src/a.ts": "import * as ts from 'typescript'"},
    "a package that nothing names": {"src/a.ts": "import x from 'body-parser'"},
    "an alias": {"src/a.ts": "import x from '@/b'"},
    "a computed import": {"src/a.ts": "await import(name)"},
    "a native build": {"binding.gyp": "{}"},
}


@pytest.mark.parametrize("files", STOPS_FILES.values(), ids=list(STOPS_FILES))
def test_what_is_not_certain_about_the_project_stops_the_proposal(
    examine: Callable[..., Patient], files: dict[str, str]
) -> None:
    assert examine(TEXT, {**FILES, **files}).stops("no-builder-stage") != ""


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        ('{"compilerOptions": {"outDir": "dist", "importHelpers": true}}', {}),
        ('{"extends": "./a.json", "compilerOptions": {"outDir": "dist"}}', {}),
        ('{"compilerOptions": {"outDir": "dist"}}', {"src/b.tsx": "export const b = <p/>;"}),
        ('{"compilerOptions": {"outDir": "dist"}}', {"src/b.ts": "join(process.cwd(), 'src', 'a.gql')"}),
    ],
)
def test_what_the_output_imports_or_opens_besides_stops_the_proposal(
    examine: Callable[..., Patient], settings: str, source: dict[str, str]
) -> None:
    helpers = lock(**{"node_modules/tslib": {"version": "2.0.0", "dev": True}})
    files = {**FILES, "tsconfig.build.json": settings, "package-lock.json": helpers, **source}
    assert examine(TEXT, files).stops("no-builder-stage") != ""


@pytest.mark.parametrize(
    "variable", ['NODE_OPTIONS="-r ts-node/register"', "NODE_EXTRA_CA_CERTS=/etc/ssl/a.crt"]
)
def test_a_variable_that_makes_node_read_a_file_stops_the_proposal(
    examine: Callable[..., Patient], variable: str
) -> None:
    assert examine(TEXT.replace("MODE=a", variable), FILES).stops("no-builder-stage") != ""
    plain = TEXT.replace("MODE=a", "NODE_OPTIONS=--enable-source-maps")
    assert examine(plain, FILES).changes("no-builder-stage") != ""
