"""The GPU worker."""

import os

# Libraries of the engines that report to their vendors, unless told not to before they load.
os.environ |= {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
