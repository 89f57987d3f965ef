# Set up the software, inside the image.
export GEOMETRY=MAIA_v0
