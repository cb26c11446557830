"""The second SAM3 engine: Meta's own predictor, over a video in windows that overlap.

The package loads a whole video before it answers and keeps all of it, so it gets a window of
frames at a time. It speaks in requests (``client``), and knows no object of another window
(``join``). File names with line numbers in this folder are those of its version 0.1.4.
"""
