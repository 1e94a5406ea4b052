"""Clients for programs that use Raycommend over HTTP, in Python and in TypeScript.

`document.py` writes `openapi.json`, the part of the OpenAPI document that a shop's programs call. `generate.py` makes
from it the models of `python/` and the types of `typescript/`, and compiles the TypeScript. What is made is committed,
and `made.json` says from what: `make clients` makes it again. Both clients are packages of their own, and neither
imports anything of this project.
"""
