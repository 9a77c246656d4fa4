"""Runs: a recipe, its folder on disk, its checkpoints, and the drive that composes everything below."""
