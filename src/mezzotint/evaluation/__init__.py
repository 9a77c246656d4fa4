"""Pixels to features, features to metrics, metrics to scores that carry what is needed to trust them."""
