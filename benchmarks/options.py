"""Options that benchmarks of a real clip have in common."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def clip_parser(doc: str | None, clip_help: str) -> argparse.ArgumentParser:
    """A parser with ``--json`` and ``--clip``; the first line of ``doc`` is its description."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument(
        "--clip",
        type=Path,
        default=Path(os.environ.get("SHOAL_SAMPLE_CLIP", ROOT / "demo/bikes.mp4")),
        help=f"{clip_help} [default: $SHOAL_SAMPLE_CLIP or demo/bikes.mp4]",
    )
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was given; the path of the clip is absolute, and there is a file."""
    options = parser.parse_args()
    if not options.clip.is_file():
        parser.error(f"there is no clip at {options.clip}: give one with --clip")
    options.clip = options.clip.resolve()
    return options
