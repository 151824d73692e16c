"""Multi-scale flows of images and the Haar transform against other libraries."""
