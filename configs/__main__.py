"""`python -m configs`: check the settings and the secrets before anything starts. Containers run it first."""

import sys

from configs.addresses import without_credentials
from configs.settings import SettingsError, load_settings


def main() -> int:
    """Entry point; the exit code is 2 where a setting is bad or a secret is missing, with a line that names it."""
    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"settings: {without_credentials(str(error))}", file=sys.stderr)
        return 2
    print(f"settings: {settings.environment or 'no environment'}, profile {settings.serving.profile}: good")
    return 0


if __name__ == "__main__":
    sys.exit(main())
