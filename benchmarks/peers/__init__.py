"""What a recommendation is compared with: a bare server, FastAPI, and Ray Serve the ordinary way."""
