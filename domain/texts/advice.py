"""What is advised about capacity, and why, in a sentence each."""

TEXTS: dict[str, tuple[str, str]] = {
    "advice.enough": (
        "{resource} stays below its threshold for the next {days} days.",
        "{resource} 在未来 {days} 天内低于阈值。",
    ),
    "advice.oversized": (
        "{resource} has {size:.4g}; {wanted:.4g} would do for the next {days} days.",
        "{resource} 现有 {size:.4g}；未来 {days} 天 {wanted:.4g} 即足够。",
    ),
    "advice.soon": (
        "{resource} reaches its threshold in {left} days, and getting more takes {lead:g}: make it {wanted:.4g} now.",
        "{resource} 将在 {left} 天后达到阈值，而扩容需要 {lead:g} 天：现在扩至 {wanted:.4g}。",
    ),
    "advice.later": (
        "{resource} has {size:.4g}; for the next {days} days it may need {wanted:.4g}. Plan it with the next change.",
        "{resource} 现有 {size:.4g}；未来 {days} 天可能需要 {wanted:.4g}。请在下次变更中安排。",
    ),
    "advice.clean_up": (
        "Clean up instead: policy '{policy}' would free {frees:.4g} of {resource}, which is enough for {days} days.",
        "建议清理：策略“{policy}”可释放 {resource} 的 {frees:.4g}，足够 {days} 天。",
    ),
    "advice.idle": (
        "Idle: 98 % of the time at most {percent:.1f} % of it is used. Take it away, or share it.",
        "闲置：98% 的时间最多使用 {percent:.1f}%。可移除或共享。",
    ),
    "advice.hardly_used": (
        "Over-sized: 98 % of the time at most {percent:.0f} % of it is used.",
        "过大：98% 的时间最多使用 {percent:.0f}%。",
    ),
}
