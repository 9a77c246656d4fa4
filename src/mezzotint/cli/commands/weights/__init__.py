"""Fetch and check the published weights that extractors need."""
