"""Who may call what: between the bytes of a request and the application that answers it.

Authorization header -> `known_keys` (API keys of settings and store) or `tokens` (JWT, by the keys of `jwks`) -> a
`caller` -> `access_gate` (`scopes`: what its scopes open; `limits`: how often) -> the application. Where nobody is
asked for a key, `keyless` lets this machine alone through. `audit_trail` writes down what admins do and what is
refused; `routes` shows that, and makes, rotates and revokes keys; `browser` adds the headers that browsers heed.
"""
