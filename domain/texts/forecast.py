"""What forecasts say of a series: refusals, remarks, crossings."""

TEXTS: dict[str, tuple[str, str]] = {
    "forecast.refused_empty": (
        "No forecast: there is not one usable sample. Check that the source still answers.",
        "无预测：没有一个可用样本。请检查数据来源是否仍有应答。",
    ),
    "forecast.refused_short": (
        "No forecast: only {count} steps are known and {minimum} are needed. Wait until more were collected.",
        "无预测：只有 {count} 个时间点，至少需要 {minimum} 个。请等待采集更多数据。",
    ),
    "forecast.refused_stale": (
        "No forecast: the newest sample is {days} days old ({date}). Check that the source still answers.",
        "无预测：最新样本已是 {days} 天前（{date}）。请检查数据来源是否仍有应答。",
    ),
    "forecast.refused_units": (
        "No forecast: on {date} the values changed by a factor of {factor}, as when a unit changes (bytes, kibibytes, "
        "percent). Fix the unit at the source, or start a new series.",
        "无预测：{date} 数值突然变化 {factor} 倍，疑似单位变更（字节、KiB、百分比）。"
        "请在来源处修正单位，或另建一个序列。",
    ),
    "forecast.refused_ratio": (
        "No forecast: the unit is a ratio, but values reach {largest}. Set the unit to percent, or divide at the "
        "source.",
        "无预测：单位为比率，但数值达到 {largest}。请把单位改为百分比，或在来源处换算。",
    ),
    "forecast.refused_lengths": (
        "No forecast: {times} times came with {values} values. Read the series again.",
        "无预测：收到 {times} 个时间却有 {values} 个数值。请重新读取该序列。",
    ),
    "forecast.short": (
        "Only {count} steps are known: no weekly course can be seen yet, and the bounds are rough.",
        "只有 {count} 个时间点：尚看不出每周规律，区间较粗略。",
    ),
    "forecast.constant": (
        "Has not moved for {count} steps; the forecast is that value, without a spread.",
        "已有 {count} 个时间点没有变化；预测即为该值，没有区间宽度。",
    ),
    "forecast.gaps": ("{percent} % of the steps have no sample.", "{percent}% 的时间点没有样本。"),
    "forecast.silent": ("Nothing was measured since {date}.", "自 {date} 起没有测量值。"),
    "forecast.unordered": (
        "The clock jumped back {count} times; the samples were sorted by their times.",
        "时钟回跳 {count} 次；样本已按时间重新排序。",
    ),
    "forecast.future": ("{count} samples from the future were left out.", "已忽略 {count} 个来自未来的样本。"),
    "forecast.huge": (
        "{count} samples above 1e60 were left out: nothing is that large.",
        "已忽略 {count} 个大于 1e60 的样本：没有任何资源会这么大。",
    ),
    "forecast.negative": ("{count} negative samples were left out.", "已忽略 {count} 个负值样本。"),
    "forecast.duplicates": (
        "{count} samples came more than once for one time; their median counts.",
        "{count} 个样本在同一时间重复出现；取其中位数。",
    ),
    "forecast.resets": (
        "The counter started again from nought {count} times, last on {date}; what it had counted was added.",
        "计数器归零 {count} 次，最近一次在 {date}；已补回此前的计数。",
    ),
    "forecast.fell": (
        "On {date} it fell to almost nothing: emptied, or a counter that was reset.",
        "{date} 降到几乎为零：可能已被清空，或是计数器归零。",
    ),
    "forecast.outage": (
        "Unconfirmed level shift since {date}: the newest values lie outside everything seen before, as in an outage. "
        "The forecast starts from before it.",
        "自 {date} 起出现未经确认的水平突变：最新数值超出以往所有范围，疑似中断。预测以此前的数据为准。",
    ),
    "forecast.shifted": (
        "The level shifted on {date} by {amount} and stayed there.",
        "{date} 水平变化 {amount}，此后保持不变。",
    ),
    "forecast.outliers": ("{count} outliers were left out.", "已忽略 {count} 个异常值。"),
    "forecast.back_test": (
        "In {origins} back-tests it was off by {mae} on average, {relative:.0%} of the seasonal naive "
        "forecast's error.",
        "在 {origins} 次回测中平均误差为 {mae}，为季节性朴素预测误差的 {relative:.0%}。",
    ),
    "forecast.back_test_none": (
        "Too short for a back-test: how good this forecast is can't be told.",
        "数据太短，无法回测：预测的可靠程度未知。",
    ),
    "forecast.crosses": (
        "Reaches {limit} on {date} (80 %: {lo80} to {hi80}), with a probability of {percent} % within {days} days.",
        "预计 {date} 达到 {limit}（80% 区间：{lo80} 至 {hi80}），{days} 天内的概率为 {percent}%。",
    ),
    "forecast.never": ("not within {days} days", "{days} 天内不会"),
    "forecast.stays_below": (
        "Is not expected to reach {limit} within {days} days (probability {percent} %).",
        "预计 {days} 天内不会达到 {limit}（概率 {percent}%）。",
    ),
    "forecast.may_exceed": (
        "Comes and goes with the load, so no date: the probability of exceeding {limit} within {days} days "
        "is {percent} %.",
        "随负载起伏，无法给出日期：{days} 天内超过 {limit} 的概率为 {percent}%。",
    ),
    "forecast.exceeded": (
        "Already there: {value} is used, and the threshold is {limit}.",
        "已达到阈值：当前 {value}，阈值 {limit}。",
    ),
    "forecast.limit_unusable": (
        "No crossing: a limit of {limit} can't be. Correct it where limits are set.",
        "无法计算到达日期：上限 {limit} 不成立。请在上限设置处更正。",
    ),
    "forecast.limit_far": (
        "The limit is {factor:.3g} times what is used: compare their units.",
        "上限是当前用量的 {factor:.3g} 倍：请核对两者的单位。",
    ),
    "forecast.limit_unknown": ("No limit is known for it.", "未设置上限。"),
}
