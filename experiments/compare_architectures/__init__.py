"""Invertible architectures and others on two inverse problems, all by one protocol."""
