"""How commits were reviewed, on the approval form."""

TEXTS: dict[str, tuple[str, str]] = {
    "review.title": ("Reviewed", "代码评审"),
    "review.reviewed": ("reviewed (by {names}, says the forge)", "已评审（代码平台记录：{names}）"),
    "review.claimed": ("claimed by trailer, unproven ({names})", "仅由提交尾注声称，未经证实（{names}）"),
    "review.unreviewed": ("not reviewed", "未评审"),
    "review.unknown": ("unknown", "未知"),
}
