"""Two problems of the sbibm benchmark: how good `jinn.fit_posterior` is with its defaults."""
