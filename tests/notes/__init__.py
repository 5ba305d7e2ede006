"""The programs of the notes from which this queue was made, run as they were printed; see README.md beside this file."""
