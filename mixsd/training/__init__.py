"""Training of a LoRA adapter on supervision, by plain NLL."""
