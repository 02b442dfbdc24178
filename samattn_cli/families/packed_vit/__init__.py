"""MiniCPM-V 4.6's and Muse Glimmer's vision encoders: plain blocks over packed sequences of images."""
