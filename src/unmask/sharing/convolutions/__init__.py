"""Convolutional networks, whose early places see few players each."""
