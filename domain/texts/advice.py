"""What is advised about capacity, and why, in a sentence each."""

TEXTS: dict[str, tuple[str, str]] = {
    "advice.enough": (
        "{resource} stays below its threshold for the next {days} days.",
        "{resource} 在未来 {days} 天内低于阈值。",
    ),
    "advice.oversized": (
        "{resource} has {size}; {wanted} would do for the next {days} days.",
        "{resource} 现有 {size}；未来 {days} 天 {wanted} 即足够。",
    ),
    "advice.soon": (
        "{resource} reaches its threshold in {left} days, and getting more takes {lead:g}: make it {wanted} now.",
        "{resource} 将在 {left} 天后达到阈值，而扩容需要 {lead:g} 天：现在扩至 {wanted}。",
    ),
    "advice.later": (
        "{resource} has {size}; for the next {days} days it may need {wanted}. Plan it with the next change.",
        "{resource} 现有 {size}；未来 {days} 天可能需要 {wanted}。请在下次变更中安排。",
    ),
    "advice.clean_up": (
        "Clean up instead: policy '{policy}' would free {frees} of {resource}, which is enough for {days} days.",
        "建议清理：策略“{policy}”可释放 {resource} 的 {frees}，足够 {days} 天。",
    ),
    "advice.idle": (
        "Idle: 98 % of the time at most {percent:.1f} % of it is used. Take it away, or share it.",
        "闲置：98% 的时间最多使用 {percent:.1f}%。可移除或共享。",
    ),
    "advice.hardly_used": (
        "Over-sized: 98 % of the time at most {percent:.0f} % of it is used.",
        "过大：98% 的时间最多使用 {percent:.0f}%。",
    ),
    "advice.now": (
        "{resource} is at its threshold: make it {wanted} now.",
        "{resource} 已达到阈值：现在扩至 {wanted}。",
    ),
    "advice.watch": (
        "{resource} needs nothing for the next {days} days; its threshold is {left:.0f} days away.",
        "{resource} 未来 {days} 天无需处理；距阈值还有 {left:.0f} 天。",
    ),
    "advice.gpus": (
        "{resource} gets up to {percent} % busy within {days} days: spread its work over {wanted} times as many GPUs.",
        "{resource} 在 {days} 天内最高忙碌 {percent}%：请将其负载分摊到 {wanted} 倍数量的 GPU 上。",
    ),
    "advice.gpu_memory": (
        "{resource} has {size}, and {wanted} may be needed within {days} days: move it to a GPU of that size, or "
        "spread it over {gpus} like this one.",
        "{resource} 现有 {size}，{days} 天内可能需要 {wanted}：请迁移到该容量的 GPU，或分布到 {gpus} 块同类 GPU 上。",
    ),
    "advice.instances_out": (
        "Run {wanted} instances instead of {now}: up to {peak} requests/s are expected, one carries {each:g}, and each "
        "should work at {target} % at most. Bounds for following the load: {least} to {most}.",
        "实例数由 {now} 增至 {wanted}：预计最高 {peak} 请求/秒，每个实例可承载 {each:g}，且利用率不宜超过 {target}%。"
        "自动伸缩范围：{least} 至 {most}。",
    ),
    "advice.instances_down": (
        "{wanted} instances would do instead of {now}: at most {peak} requests/s are expected, one carries {each:g} at "
        "{target} %. Bounds for following the load: {least} to {most}.",
        "{wanted} 个实例即可，而非 {now} 个：预计最高 {peak} 请求/秒，每个实例在 {target}% 利用率下可承载 {each:g}。"
        "自动伸缩范围：{least} 至 {most}。",
    ),
    "advice.instances_keep": (
        "{now} instances carry the {peak} requests/s that are expected, at {each:g} each and {target} %. Bounds for "
        "following the load: {least} to {most}.",
        "{now} 个实例足以承载预计的 {peak} 请求/秒（每个 {each:g}，利用率 {target}%）。"
        "自动伸缩范围：{least} 至 {most}。",
    ),
    "advice.size_up": (
        "{resource}: an instance has {size}; what is used and what is expected ask for {wanted}.",
        "{resource}：每个实例现有 {size}；按当前与预计用量需要 {wanted}。",
    ),
    "advice.size_unlimited": (
        "{resource}: an instance has no limit that is known; what is used and what is expected ask for {wanted}.",
        "{resource}：每个实例没有已知上限；按当前与预计用量需要 {wanted}。",
    ),
    "advice.size_down": (
        "{resource}: an instance has {size}; {wanted} would do, with 15 % to spare.",
        "{resource}：每个实例现有 {size}；{wanted} 即足够（含 15% 余量）。",
    ),
    "advice.size_keep": (
        "{resource}: an instance has {size}, which is right within a tenth.",
        "{resource}：每个实例现有 {size}，误差在一成以内，无需调整。",
    ),
}
