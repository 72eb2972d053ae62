"""Adapters of the ports, chosen by URL; the only package that knows which broker and which store are behind."""

from retrograde.runtime.adapters.urls import open_broker, open_store

__all__ = ["open_broker", "open_store"]
