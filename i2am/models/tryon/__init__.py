"""The paper's models: their checkpoints, encoders and networks."""
