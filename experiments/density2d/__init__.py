"""Five densities in the plane, learned by every flow that jinn has."""
