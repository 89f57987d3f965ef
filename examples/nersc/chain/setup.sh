# Sourced inside the image, before each task.
export K4GEO=/geometry
