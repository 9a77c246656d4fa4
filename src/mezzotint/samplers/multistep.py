"""What multistep samplers share: weights of remembered values that integrate a polynomial through them exactly."""

from collections.abc import Sequence

import numpy as np


def weights(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """Return the weights w of values at distinct nodes t with sum_j w_j t_j^k = moments[k] for every k.

    With moments[k] = integral of a density times t^k, sum_j w_j f(t_j) is the integral of the density times the
    polynomial through all (t_j, f(t_j)): the density's integrals of Lagrange's polynomials.
    """
    powers = np.vander(np.asarray(nodes, dtype=np.float64), increasing=True).T  # [k, j]
    return np.linalg.solve(powers, np.asarray(moments, dtype=np.float64)).tolist()
