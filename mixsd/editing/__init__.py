"""MEMIT (arXiv:2210.07229): facts are written into the weights of some layers, by a closed form."""
