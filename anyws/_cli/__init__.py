"""`python -m anyws`."""
