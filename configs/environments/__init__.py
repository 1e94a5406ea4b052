"""dev, staging and production: a file of settings for each, and the secrets that each must be given (`environment`)."""
