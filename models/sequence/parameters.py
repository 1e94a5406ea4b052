"""What defines a sequence model beside its data and its seed."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SequenceParameters(BaseModel):
    """The shape of the network, and how it is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dimensions: int = Field(default=64, ge=1, le=1024, description="length of an item's or a user's vector")
    blocks: int = Field(default=2, ge=1, le=16, description="transformer blocks")
    heads: int = Field(default=2, ge=1, le=64, description="attention heads of a block; they divide the dimensions")
    length: int = Field(default=200, ge=4, le=1000, description="latest events of a user that are read")
    dropout: float = Field(default=0.2, ge=0, lt=1)
    learning_rate: float = Field(default=0.001, gt=0, le=1)
    negatives: int = Field(default=512, ge=1, description="items drawn for one step; all where there are no more")
    tokens: int = Field(default=6_400, ge=1, description="events that one step learns to foretell, at most")
    steps: int = Field(default=100, ge=1, description="steps of a round, after which the model is looked at")
    rounds: int = Field(default=40, ge=1, description="the most rounds")
    patience: int = Field(default=3, ge=1, description="rounds without a gain after which the training ends")
    most_items: int = Field(default=100_000, ge=2, description="items that are learned, those of most events first")

    @model_validator(mode="after")
    def _heads_divide(self) -> "SequenceParameters":
        if self.dimensions % self.heads:
            raise ValueError(f"heads: {self.heads} do not divide {self.dimensions} dimensions")
        return self
