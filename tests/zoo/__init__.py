"""Network definitions of published architectures, in small widths and with random weights from a seed, made by code.

`net` writes definitions; `table` holds all of them, sorted by what they are for; `judge` holds a net against real Caffe or OpenCV;
`python -m tests.zoo` runs all and writes the table in docs/results.md.
"""
