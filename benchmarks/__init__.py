"""Speed and memory of minivit, measured against its peers: `python -m benchmarks.run`."""
