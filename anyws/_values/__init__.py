"""What things are called, and what may be sent: pure, without I/O."""
