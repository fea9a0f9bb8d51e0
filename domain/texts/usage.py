"""What collecting says of sources, samples and limits."""

TEXTS: dict[str, tuple[str, str]] = {
    "usage.outside": (
        "{resource}: {count} samples lie outside the interval that was asked for and were left out. Is a clock wrong?",
        "{resource}：{count} 个样本超出所请求的时间段，已忽略。请检查时钟。",
    ),
    "usage.negative": (
        "{resource}: {count} negative samples were left out; a size can't be below 0. Check the source.",
        "{resource}：{count} 个负值样本已忽略，大小不可能小于 0。请检查数据来源。",
    ),
    "usage.duplicates": (
        "{resource}: {count} times came twice; the later answer counts.",
        "{resource}：{count} 个时间点重复；以较后的为准。",
    ),
    "usage.restarts": (
        "{resource}: the counter started again {count} times; counting went on from there.",
        "{resource}：计数器重新开始 {count} 次；已从该处继续计数。",
    ),
    "usage.clock": (
        "{source} was read up to {newest} UTC already, which is still to come: a clock jumped. Set the clock; what "
        "was read of that time will be replaced.",
        "{source} 已读取到 {newest} UTC，而该时间尚未到来：时钟发生跳变。请校正时钟；届时的数据将被替换。",
    ),
    "usage.present_only": (
        "{source} sees the present only, and nobody asked it then.",
        "{source} 只能看到当前状态，当时未被读取。",
    ),
    "usage.no_limit": (
        "{resource} has no limit that is known. Set one under `limits` in capacity.yaml.",
        "{resource} 没有已知的上限。请在 capacity.yaml 的 `limits` 中设置。",
    ),
    "usage.above_limit": (
        "{resource} uses {used} of {limit} ({source}). It is full, or the limit is in another unit.",
        "{resource} 已用 {used}，上限 {limit}（{source}）。已满，或上限的单位不一致。",
    ),
    "usage.source_failed": (
        "{source} gave nothing: {reason} Its series have a gap; the others are complete.",
        "{source} 没有返回数据：{reason} 其序列出现缺口；其他序列完整。",
    ),
    "usage.half": (
        "{source} answered {answered} of {asked} questions; the rest is a gap. First failure: {reason}",
        "{source} 只回答了 {asked} 个查询中的 {answered} 个；其余为缺口。首个失败：{reason}",
    ),
    "usage.warned": (
        "{source} answered with a warning, so that something may be missing: {warning}",
        "{source} 的回答带有警告，可能有所缺失：{warning}",
    ),
    "usage.future": (
        "{count} samples of {resource} lie in the future and were left out: a clock had jumped. Correct it.",
        "{resource} 有 {count} 个样本的时间在未来，已忽略：时钟曾跳变。请校正时钟。",
    ),
    "usage.unit_unknown": (
        "{source}: series '{series}' has no unit that is known. It was left out.",
        "{source}：序列“{series}”单位未知，已忽略。",
    ),
}
