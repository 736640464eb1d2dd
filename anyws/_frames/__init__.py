"""RFC 6455 over bytes: frames, and the transports that carry them."""
