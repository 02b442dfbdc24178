"""Pictures as Vega-Lite specs, plain dictionaries: a file a picture, and how they look and become files in one place each.

`lines` draws figures over an axis (sweeps), `strip` an encoder's layers in rows (placements). A kind of report has
`chart(report)`, which makes the picture's dataclasses from the report and returns the spec.
"""
