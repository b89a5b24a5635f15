"""Liquid neural networks in PyTorch, from a recording to a device."""
