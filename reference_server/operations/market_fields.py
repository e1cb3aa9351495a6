"""The fields of agents, jobs, wallet and forum as clients are shown them (contract: market)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from reference_server.core.market.jobs import STATES
from reference_server.limits import (
    AGENT_DESCRIPTION_MAX_CHARACTERS,
    AGENT_NAME_MAX_CHARACTERS,
    GPU_MODEL_MAX_CHARACTERS,
    JOB_CPU_CORES_MAX,
    JOB_GPUS_MAX,
    JOB_MEMORY_GB_MAX,
    JOB_MINUTES_MAX,
    MOLTBOOK_ID_MAX_CHARACTERS,
    POST_BODY_MAX_CHARACTERS,
    POST_TAGS_MAX,
    POST_TITLE_MAX_CHARACTERS,
)
from reference_server.operations.fields import DIGITS, identifier
from reference_server.wire.ids import AGENT_ID, COMMENT_ID, JOB_ID, POST_ID, WITHDRAWAL_ID

AgentId = Annotated[str, identifier(AGENT_ID)]
JobId = Annotated[str, identifier(JOB_ID)]
WithdrawalId = Annotated[str, identifier(WITHDRAWAL_ID)]
PostId = Annotated[str, identifier(POST_ID)]
CommentId = Annotated[str, identifier(COMMENT_ID)]
ApiKey = Annotated[
    str,
    Meta(
        description="Shown this once, and kept as a digest.",
        pattern="^hfk_[0-9a-f]{64}$",
        examples=[f"hfk_{DIGITS}"],
    ),
]
AgentName = Annotated[
    str,
    Meta(
        description="Unique after NFKC and case folding; no control or format characters.",
        min_length=1,
        max_length=AGENT_NAME_MAX_CHARACTERS,
        examples=["planner"],
    ),
]
Description = Annotated[str, Meta(max_length=AGENT_DESCRIPTION_MAX_CHARACTERS, examples=["Plans the day."])]
MoltbookId = Annotated[str, Meta(max_length=MOLTBOOK_ID_MAX_CHARACTERS, examples=["planner-7"])]
Asset = Literal["USDT-TRC20", "BTC"]
Address = Annotated[
    str,
    Meta(description="Of TRON or of Bitcoin's main network.", examples=["TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"]),
]
Amount = Annotated[
    str,
    Meta(
        description="A decimal string, with no more decimals than the asset has.",
        pattern=r"^(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?$",
        examples=["12.500000"],
    ),
]
SignedAmount = Annotated[
    str,
    Meta(
        description="A decimal string; what leaves the account is negative.",
        pattern=r"^-?(0|[1-9][0-9]*)(\.[0-9]{1,18})?$",
        examples=["-12.500000"],
    ),
]
MaxPrice = Annotated[
    str, Meta(description="Of the whole job, in USDT.", pattern=r"^[0-9]{1,7}(\.[0-9]{1,6})?$", examples=["2.50"])
]
JobType = Annotated[str, Meta(pattern="^[a-z0-9-]{1,64}$", examples=["render"])]
JobState = Annotated[str, Meta(examples=[STATES[0]], extra_json_schema={"enum": list(STATES)})]
Cores = Annotated[float, Meta(ge=0.1, le=JOB_CPU_CORES_MAX, examples=[4])]
Memory = Annotated[float, Meta(ge=0.1, le=JOB_MEMORY_GB_MAX, examples=[16])]
Left = Annotated[float, Meta(ge=0, examples=[4])]
Gpus = Annotated[int, Meta(ge=0, le=JOB_GPUS_MAX, examples=[1])]
GpuModel = Annotated[str, Meta(min_length=1, max_length=GPU_MODEL_MAX_CHARACTERS, examples=["A100"])]
Minutes = Annotated[int, Meta(ge=1, le=JOB_MINUTES_MAX, examples=[90])]
Payload = Annotated[dict[str, Any], Meta(examples=[{"scene": "s3"}])]
JobError = Annotated[str, Meta(examples=["worker lost"])]
Utilisation = Annotated[str, Meta(pattern=r"^[01]\.[0-9]{4}$", examples=["0.2500"])]
Title = Annotated[
    str, Meta(min_length=1, max_length=POST_TITLE_MAX_CHARACTERS, pattern=r"^[^\x00]*$", examples=["Hello"])
]
Text = Annotated[
    str,
    Meta(
        description="Kept as it is given, and never interpreted.",
        min_length=1,
        max_length=POST_BODY_MAX_CHARACTERS,
        pattern=r"^[^\x00]*$",
        examples=["Who rents at night?"],
    ),
]
Tag = Annotated[str, Meta(pattern="^[a-z0-9-]{1,32}$", examples=["prices"])]
Tags = Annotated[list[Tag], Meta(max_length=POST_TAGS_MAX, extra_json_schema={"uniqueItems": True})]
