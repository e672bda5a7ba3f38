"""Training of a LoRA adapter on supervision, by NLL or against soft targets."""
