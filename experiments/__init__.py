"""Experiments of jinn, each run with ``python -m experiments.NAME``."""
