"""Training steps and samples of masked autoregressive flows against other libraries."""
