"""What a real GPU said: recordings made on one, what makes them, and tests that hold samattn to them."""
