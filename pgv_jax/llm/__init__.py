"""How a language model is asked: clients, budgets, caches. Knows neither critic nor task."""
