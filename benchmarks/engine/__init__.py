"""The speed of the engine against others, and what it holds of its own accord.

    python -m benchmarks.engine --json [--only G2 G3] [--pairs 3] [--model ID] [--facts 32]

Prints one JSON object: a figure for each measure, the median and the range over pairs of runs. Both
sides of a pair run in one process, one after the other, in float32, on invented facts. Every text
has the same number of tokens, none ends early, unless a measure says otherwise.
"""
