"""Offline: catalog in, snapshot out; training, export and evaluation."""
