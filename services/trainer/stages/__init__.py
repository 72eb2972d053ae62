"""The stages of a run, one file each. A stage may be started again at any time: what it made before stays made."""
