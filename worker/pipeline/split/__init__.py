"""Split jobs in the model process: cut, track a segment, join IDs, render a segment, finish."""
