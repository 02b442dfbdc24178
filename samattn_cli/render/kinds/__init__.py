"""How each kind of report is laid out: a file of its name has `page` and, where there are tables to go on with, `rows`."""
