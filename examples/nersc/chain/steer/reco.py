"""Steering of the stand-in for k4run: what it adds to the hits of each event, and the energy of a hit."""

noise = 0
calibration = 2
