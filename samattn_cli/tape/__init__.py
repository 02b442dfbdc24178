"""The forward pass on a Tape: analytic cost, without torch."""
