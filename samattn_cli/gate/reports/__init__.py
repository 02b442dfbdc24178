"""Reports and files of the gate, frozen."""
