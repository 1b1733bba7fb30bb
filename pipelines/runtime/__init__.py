"""Engines: torch.py and tensorflow.py are the only modules that load a framework when imported."""
