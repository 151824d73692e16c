"""Residual and continuous flows against other libraries: time, accuracy and memory."""
