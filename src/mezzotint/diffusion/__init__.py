"""Diffusion: noise schedules, denoisers made of networks, loss weights, and the family that composes them."""
