"""One thread is enough for a model of two layers, and leaves room for whatever else runs."""

import torch

torch.set_num_threads(1)
