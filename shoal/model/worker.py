"""A connected worker."""

from __future__ import annotations

from pydantic import BaseModel

from shoal.model.record import Amount, At, Count


class WorkerInfo(BaseModel):
    """One worker. Times are seconds since the epoch."""

    name: str
    host: str
    pid: Count
    started_at: At
    beat_at: At = 0.0
    state: str = "starting"  # starting (loading the model), idle or busy
    draining: bool = False  # takes no new jobs and exits after the current one
    job: str = ""  # ID of the current job
    engine: str = ""  # empty until the model is loaded
    device: str = ""
    model_loads: Count = 0
    hourly_price: Amount = 0.0  # US dollars; 0 = not known
    jobs_done: Count = 0  # attempts that ended since it started
