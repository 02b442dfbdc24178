"""How each kind of report is laid out: a file of its name has `page` and, where there is something to go on with, `rows` and `chart`."""
