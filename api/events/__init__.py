"""Bucket events: one parser per sender, and one way of an upload into the queue behind them."""
