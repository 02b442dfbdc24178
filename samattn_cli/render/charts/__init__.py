"""Charts as Vega-Lite specs, which are plain dictionaries: a file for each, one for their style, one to convert them.

`lines` draws figures over an axis (sweeps), `strip` an encoder's layers in rows (placements). A kind of report has
`chart(report)`, which makes the dataclasses of the chart from the report, and returns the spec.
"""
