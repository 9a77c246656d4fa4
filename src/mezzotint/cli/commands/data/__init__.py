"""Prepare, look into and check packs: images decoded once, ready to train on."""
