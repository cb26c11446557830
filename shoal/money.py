"""How money is written."""

from __future__ import annotations

SMALLEST = 0.0001


def dollars(amount: float) -> str:
    """Such as '$1.24', '$0.0091', 'under $0.0001'."""
    if 0 < amount < SMALLEST:
        return f"under ${SMALLEST}"
    return f"${amount:,.2f}" if amount >= 0.1 or not amount else f"${amount:.4f}"
