"""``python -m autoscaler``, which is ``shoal-autoscaler``."""

from autoscaler.cli import app

app()
