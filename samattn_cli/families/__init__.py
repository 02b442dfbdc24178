"""The families of encoders, a folder each; README.md says how to add one."""
