"""Generative adversarial networks: losses, regularisers, what the critic is shown, health, the family."""
