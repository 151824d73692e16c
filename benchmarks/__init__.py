"""Speed, memory and compile time; each module runs with ``python -m benchmarks.NAME``."""
