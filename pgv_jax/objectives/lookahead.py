"""Self-taught lookahead: fit the values that a search backed up (Mendes & Ritter 2025).

    V(s, g)          <-  gamma max_a V_k(s'_a, g)
    Q(s, thought, g) <-  gamma V_k(s', g) of the thought's own s'

arXiv:2503.02878. V_k is the value under which the search was made; its backups are examples
(``data.targets.lookahead``), and each refit starts from new parameters. The paper fits V alone; Q
is fitted beside it, so that a critic can choose where nothing can be tried out.
"""

from __future__ import annotations

from pgv_jax.objectives.regression import regression

lookahead = regression
