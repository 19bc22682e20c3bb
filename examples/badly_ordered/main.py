"""A service of one endpoint. An edit of it installs every package again: see the Dockerfile."""

from __future__ import annotations

import pandas as pd
from fastapi import FastAPI

LAP_SECONDS = pd.Series([61.2, 60.8, 62.5, 60.1])

app = FastAPI()


@app.get("/")
def summary() -> dict[str, str | float]:
    return {"title": "Laps", "mean_seconds": float(LAP_SECONDS.mean())}
