"""Settings of the autoscaler: environment variables ``SHOAL_SCALE_<NAME>``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shoal.errors import InvalidSetting


class ScaleSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOAL_SCALE_", frozen=True, extra="ignore")

    launcher: Literal["sky", "local"] = "sky"
    pool: str = Field("shoal", pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")  # or "none"
    files: Path | None = None  # folder with pool.yaml and worker.yaml; a checkout has its own
    worker: str = ""  # of --launcher local: the 'shoal' that starts workers; empty: it is found
    cap: int = Field(10, ge=0)  # machines, at most; 'shoal pool scale' lowers it at run time
    jobs_per_worker: float = Field(1.0, gt=0)  # more: fewer machines, longer waits
    idle_exit_s: float = Field(120, gt=0)  # a consumer ends after so long without a job
    price_per_hour: float = Field(0, ge=0, validation_alias="SHOAL_HOURLY_PRICE")  # of a machine
    budget_per_hour: float = Field(0, ge=0)  # no growth beyond it; 0: none
    tick_s: float = Field(20, gt=0)  # a decision this often
    start_timeout_s: float = Field(900, gt=0)  # a consumer that has not started by then is stuck
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65535)  # 0: no metrics

    @model_validator(mode="after")
    def _price_known(self) -> ScaleSettings:
        if self.budget_per_hour and not self.price_per_hour:
            raise ValueError("a budget per hour needs SHOAL_HOURLY_PRICE, the price of one machine")
        return self


@lru_cache(maxsize=1)
def get_scale_settings() -> ScaleSettings:
    """
    Raises:
        InvalidSetting: names the variable.
    """
    try:
        return ScaleSettings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        if not name.startswith("SHOAL_"):
            name = f"SHOAL_SCALE_{name or 'BUDGET_PER_HOUR'}"
        raise InvalidSetting(
            f"{name}: {first['msg']}",
            hint="Correct the variable in the environment; autoscaler/settings.py lists them all.",
        ) from None
