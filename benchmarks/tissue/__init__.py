"""Photons a second, spectra a second and memory of the tissue's forward process."""
