"""Videos whose stamps do what those of real ones do, and the truth about each.

A ``Plan`` says which pictures follow each other when, and where the stamps jump, repeat or leave a
hole; ``author`` writes it with PyAV alone. ``check`` reads the file as a job does and compares with
the plan: which picture, when, with the sound at its place, forward, backward, and continued in the
middle. Every picture carries its number in binary along the top, every beep lies at a known time.

    python -m tests.video.timelines 1000 --seed 7
"""
