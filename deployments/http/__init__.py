"""HTTP without knowledge of the system: from bytes to a checked request, and from an answer or error to bytes.

ASGI scope -> `serve_bypass` (one of our endpoints, or Serve's) -> `asgi_app` (body) ->
`schemas` (checked request) -> the part that answers -> bytes, or `errors` (code, message, field).
"""
