import pytest

from configs.addresses import without_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://ada:s3cret@mlflow.example/base", "https://mlflow.example/base"),
        ("https://ada:s3@cret@mlflow.example", "https://mlflow.example"),
        ("https://s3cret@mlflow.example:1", "https://mlflow.example:1"),
        ("redis://:s3cret@store:6379/0?password=s3cret", "redis://store:6379/0"),
        ("postgresql+psycopg://ada:s3cret@db/mlflow", "postgresql+psycopg://db/mlflow"),
        ("sqlite:////state/mlflow.db", "sqlite:////state/mlflow.db"),
        ("401 for 'https://ada:s3cret@host/a?token=s3cret' is odd", "401 for 'https://host/a' is odd"),
        ("is the disk full? a@b", "is the disk full? a@b"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
