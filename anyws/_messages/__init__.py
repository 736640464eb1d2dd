"""What either end does with messages."""
