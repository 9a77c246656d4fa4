"""mezzotint: train, sample, evaluate and compare image generative models at 8 to 256 pixels."""

__version__ = "0.1.0"
