"""Grayscale photographs in colour: p(ab | L) by a conditional INN."""
