"""Engines: whatever generates text, local or remote, behind one interface."""
