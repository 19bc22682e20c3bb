"""A small service to watch devloop at work: change MESSAGE, save, and ask for it again."""

from fastapi import FastAPI

MESSAGE = "Hello from version 1"

app = FastAPI(title="web_api")


@app.get("/")
def read_root() -> dict[str, str]:
    return {"message": MESSAGE}


@app.get("/health")
def read_health() -> dict[str, str]:
    return {"status": "ok"}
