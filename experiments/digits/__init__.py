"""Pictures of digits drawn by their class, of scikit-learn's 8 x 8 digits or of MNIST."""
