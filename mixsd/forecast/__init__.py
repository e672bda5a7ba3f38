"""What a run will take, before it is begun: tokens, steps, seconds, memory. Nothing here loads torch.

`chat` counts tokens as the model would, `shape` knows its size, `work` says what each phase has to
do, and `rates` makes seconds of that, from runs that have ended or from a prior.
"""
