"""Sensors and models for a language model: a server of the Model Context Protocol."""
