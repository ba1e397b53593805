"""Side-by-side timings: `make bench` runs offnote and what a user would run in its place, and compares the two."""
