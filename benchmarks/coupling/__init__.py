"""Training steps, densities and samples of coupling flows against other libraries."""
