"""Looking at data and generators: what is computed stands apart from `figures.py`, which draws it."""
