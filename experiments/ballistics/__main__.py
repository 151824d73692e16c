"""``python -m experiments.ballistics``: train, compare with the ground truth, draw."""

from experiments import program
from experiments.ballistics.experiment import PRESETS, PROBLEM

if __name__ == "__main__":
    program.main(PROBLEM, PRESETS)
