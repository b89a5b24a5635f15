"""A Model Context Protocol server that lets a language model ask about sensors and models."""
