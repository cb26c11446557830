"""Shoal: a bucket of videos in, tracked and text-prompted object masks out."""

__version__ = "0.1.0"
