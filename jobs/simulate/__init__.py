"""Simulated users with a known taste, who browse the running system over HTTP; and the demo made of them."""
