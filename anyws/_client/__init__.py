"""The client side: connect and what it takes."""
