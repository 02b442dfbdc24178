"""How each kind of report is laid out: a file for each kind has `LAYOUT`."""
