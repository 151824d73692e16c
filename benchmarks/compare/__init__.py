"""All workloads of the other benchmarks against every library that is installed, in one table."""
