"""Starts workers as there is work for them, and lets them go: see ``controller``."""
