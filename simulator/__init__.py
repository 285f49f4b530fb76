"""Forward physics with known truth: diffuser, wave field, detector, phantoms, deformations."""
