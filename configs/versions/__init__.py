"""Which version this program is, which formats of kept things it reads, and what a state folder says of itself."""
