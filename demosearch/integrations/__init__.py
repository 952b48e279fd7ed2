"""Adapters that let other libraries use an embedder."""
