"""Variational autoencoders: likelihoods of pixels, a learnt Gaussian code, a learnt codebook."""
