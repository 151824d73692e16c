"""Eight normals in the plane, found again from their labels, by an INN and by a cINN."""
