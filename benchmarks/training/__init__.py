"""The speed of training against trl's SFTTrainer, and what sharing gives.

    python -m benchmarks.training --json [--only T2 T4] [--pairs 3] [--model ID] [--trl-python PATH]

Prints one JSON object: a figure for each measure, the median and the range over pairs of runs. Both
sides of a pair run one after the other, in float32, on the same texts: invented facts with a plain
answer each. trl 1.16 runs in a process of its own, by a python that has it (`--trl-python`); without
one, what is measured against it is left out.
"""
