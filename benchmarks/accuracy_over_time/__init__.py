"""Time to a posterior of given quality, beside sbi's NPE and BayesFlow."""
