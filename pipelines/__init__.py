"""Audio, text and image pipelines from one YAML config, with the same numbers on PyTorch and TensorFlow."""
