"""What the guard costs: `python -m benchmarks` prints a table, `--json FILE` keeps it.

Every figure that compares is a ratio of two things measured in one run, in turns; see
`benchmarks.measuring`. Nothing is installed and nothing but loopback is reached: what is not there
is skipped, and said. `pip install -e '.[bench]'` brings all that can be compared with.
"""
