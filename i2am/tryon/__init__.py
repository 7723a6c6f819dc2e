"""The paper's try-on models: their checkpoints, what stands in them, and the encoders of their references."""
