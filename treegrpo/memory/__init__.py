"""What a piece of work takes of a device, and what follows from it: batch sizes, a prediction, a second try."""
