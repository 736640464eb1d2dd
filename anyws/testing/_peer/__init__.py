"""The peer of an application under test."""
