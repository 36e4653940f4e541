"""What the service bears: `python -m benchmarks.serve PART`."""
