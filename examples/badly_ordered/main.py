"""A service of one endpoint. An edit of it installs every package again: see the Dockerfile."""

from __future__ import annotations

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def greet() -> dict[str, str]:
    return {"message": "Hello"}
