"""How several adapters become one: a registry, one entry a method, by PEFT's own names for them."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from studio.methods.options import Options

Arithmetic = Literal["task_arithmetic", "ties", "dare_linear", "dare_ties", "magnitude_prune"]
ActsOn = Literal["stack", "factors", "updates"]

DENSITY: Any = Field(
    default=0.5,
    gt=0,
    le=1,
    title="Density",
    description="Share of each adapter's entries that is kept before they are added; 0.2 to 0.5 is usual, 1 keeps all.",
)
SVD_RANK: Any = Field(
    default=0,
    ge=0,
    le=1024,
    title="Rank of the result",
    description="Directions that the result keeps of every matrix; more is truer and larger. 0: the largest rank among "
    "the adapters.",
)
SIGN: Any = Field(
    default="total",
    title="Sign by",
    description="Which sign an entry gets where adapters disagree: total, that of the greater sum; frequency, that of "
    "the greater number.",
)
Sign = Literal["total", "frequency"]


class CatOptions(Options):
    name: Literal["cat"] = "cat"


class SvdOptions(Options):
    name: Literal["svd"] = "svd"
    svd_rank: int = SVD_RANK


class LinearOptions(Options):
    name: Literal["linear"] = "linear"


class TiesOptions(Options):
    name: Literal["ties"] = "ties"
    density: float = DENSITY
    majority_sign_method: Sign = SIGN


class TiesSvdOptions(Options):
    name: Literal["ties_svd"] = "ties_svd"
    density: float = DENSITY
    majority_sign_method: Sign = SIGN
    svd_rank: int = SVD_RANK


class DareLinearOptions(Options):
    name: Literal["dare_linear"] = "dare_linear"
    density: float = DENSITY


class DareLinearSvdOptions(Options):
    name: Literal["dare_linear_svd"] = "dare_linear_svd"
    density: float = DENSITY
    svd_rank: int = SVD_RANK


class DareTiesOptions(Options):
    name: Literal["dare_ties"] = "dare_ties"
    density: float = DENSITY
    majority_sign_method: Sign = SIGN


class DareTiesSvdOptions(Options):
    name: Literal["dare_ties_svd"] = "dare_ties_svd"
    density: float = DENSITY
    majority_sign_method: Sign = SIGN
    svd_rank: int = SVD_RANK


class MagnitudePruneOptions(Options):
    name: Literal["magnitude_prune"] = "magnitude_prune"
    density: float = DENSITY


class MagnitudePruneSvdOptions(Options):
    name: Literal["magnitude_prune_svd"] = "magnitude_prune_svd"
    density: float = DENSITY
    svd_rank: int = SVD_RANK


@dataclass(frozen=True, kw_only=True)
class MergeMethod:
    """One way to merge. `name`: PEFT's `combination_type`.

    `acts_on`: "stack" puts the matrices A below and B beside each other, which gives the weighted sum of the updates
    exactly; "factors" computes with the matrices A and with the matrices B, each for itself, which needs equal ranks
    and lets every B meet every A; "updates" computes with the products B·A, then keeps the strongest directions (SVD).
    `arithmetic`: the function of `peft.utils.merge_utils` that does it.
    """

    name: str
    title: str
    summary: str
    options: type[Options]
    arithmetic: Arithmetic
    acts_on: ActsOn

    @property
    def needs_equal_ranks(self) -> bool:
        """Whether adapters of different ranks cannot be merged so."""
        return self.acts_on == "factors"


BY_FACTORS = "Works on the matrices A and B apart, so that every B meets every A: quick, rough, only for equal ranks."

CAT = MergeMethod(
    name="cat",
    title="Concatenation",
    summary="The weighted sum of the updates, exactly. The ranks add up, and so do the sizes: the first thing to try.",
    options=CatOptions,
    arithmetic="task_arithmetic",
    acts_on="stack",
)
SVD = MergeMethod(
    name="svd",
    title="SVD",
    summary="The weighted sum of the updates, cut to the rank that you choose: its strongest directions stay.",
    options=SvdOptions,
    arithmetic="task_arithmetic",
    acts_on="updates",
)
LINEAR = MergeMethod(
    name="linear",
    title="Linear",
    summary=f"The way for (IA)³. Of LoRA it adds the matrices, not the updates. {BY_FACTORS} Similar adapters come out "
    "too large: two equal ones twice as large as their sum.",
    options=LinearOptions,
    arithmetic="task_arithmetic",
    acts_on="factors",
)
TIES = MergeMethod(
    name="ties",
    title="TIES",
    summary="Keeps the largest entries of each adapter, lets them vote on the sign, and averages those that agree "
    f"(arXiv 2306.01708): begin with weights of 1. {BY_FACTORS}",
    options=TiesOptions,
    arithmetic="ties",
    acts_on="factors",
)
TIES_SVD = MergeMethod(
    name="ties_svd",
    title="TIES, then SVD",
    summary="TIES on the updates themselves, as its paper has it, then cut to a rank: less conflict between tasks, for "
    "any ranks. It averages those that agree: begin with weights of 1.",
    options=TiesSvdOptions,
    arithmetic="ties",
    acts_on="updates",
)
DARE_LINEAR = MergeMethod(
    name="dare_linear",
    title="DARE",
    summary="Drops entries by chance, scales the rest up, and adds them (arXiv 2311.03099): adapters get out of each "
    f"other's way. {BY_FACTORS}",
    options=DareLinearOptions,
    arithmetic="dare_linear",
    acts_on="factors",
)
DARE_LINEAR_SVD = MergeMethod(
    name="dare_linear_svd",
    title="DARE, then SVD",
    summary="DARE on the updates themselves, as its paper has it, then cut to a rank; for any ranks.",
    options=DareLinearSvdOptions,
    arithmetic="dare_linear",
    acts_on="updates",
)
DARE_TIES = MergeMethod(
    name="dare_ties",
    title="DARE-TIES",
    summary=f"Drops entries by chance as DARE, then votes on signs and averages as TIES. {BY_FACTORS}",
    options=DareTiesOptions,
    arithmetic="dare_ties",
    acts_on="factors",
)
DARE_TIES_SVD = MergeMethod(
    name="dare_ties_svd",
    title="DARE-TIES, then SVD",
    summary="DARE-TIES on the updates themselves, then cut to a rank; for any ranks.",
    options=DareTiesSvdOptions,
    arithmetic="dare_ties",
    acts_on="updates",
)
MAGNITUDE_PRUNE = MergeMethod(
    name="magnitude_prune",
    title="Largest entries",
    summary=f"Keeps the largest entries of each adapter and adds them, without a vote. {BY_FACTORS}",
    options=MagnitudePruneOptions,
    arithmetic="magnitude_prune",
    acts_on="factors",
)
MAGNITUDE_PRUNE_SVD = MergeMethod(
    name="magnitude_prune_svd",
    title="Largest entries, then SVD",
    summary="Keeps the largest entries of each update and adds them, then cuts to a rank; for any ranks.",
    options=MagnitudePruneSvdOptions,
    arithmetic="magnitude_prune",
    acts_on="updates",
)

MERGE_METHODS: dict[str, MergeMethod] = {
    "cat": CAT,
    "svd": SVD,
    "linear": LINEAR,
    "ties": TIES,
    "ties_svd": TIES_SVD,
    "dare_linear": DARE_LINEAR,
    "dare_linear_svd": DARE_LINEAR_SVD,
    "dare_ties": DARE_TIES,
    "dare_ties_svd": DARE_TIES_SVD,
    "magnitude_prune": MAGNITUDE_PRUNE,
    "magnitude_prune_svd": MAGNITUDE_PRUNE_SVD,
}
