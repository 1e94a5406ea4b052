"""What the store knows of items: `catalogue` (what can be recommended), `item_features`, `trending`."""
