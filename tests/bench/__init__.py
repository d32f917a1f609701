"""The measures that the work is held to: `python -m tests.bench` prints them and writes `build/bench/report.json`."""
