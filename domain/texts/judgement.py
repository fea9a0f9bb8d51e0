"""What people read of a judgement: the verdict, its cause, the table of figures."""

TEXTS: dict[str, tuple[str, str]] = {
    "judgement.head": ("{verdict} after {watched} s.", "{verdict},观察 {watched} 秒。"),
    "judgement.verdict_pass": ("PASS", "通过 (PASS)"),
    "judgement.verdict_fail": ("FAIL", "不通过 (FAIL)"),
    "judgement.verdict_unclear": ("UNCLEAR", "不明确 (UNCLEAR)"),
    "judgement.verdict_none": ("watching", "观察中"),
    "judgement.columns": (
        "trigger | verdict | new release | live release | evidence / needed",
        "触发项 | 结论 | 新版本 | 在线版本 | 证据 / 阈值",
    ),
    "judgement.trigger_unavailability": ("unavailability", "不可用"),
    "judgement.trigger_errors": ("errors", "错误率"),
    "judgement.trigger_latency": ("latency", "延迟"),
    "judgement.trigger_tail": ("slow answers", "慢响应"),
    "judgement.trigger_traffic": ("traffic of this step", "本步骤流量"),
    "judgement.watching": ("Nothing decided yet.", "尚无结论。"),
    "judgement.passed": (
        "The new release is no worse than what it was compared with; harm would have shown.",
        "新版本不比对照差;若有问题,本应已显现。",
    ),
    "judgement.unavailability": (
        "The new release does not answer: {canary_failures} of its last {canary_requests} requests failed "
        "({canary_ratio}; the live release: {live_ratio}).",
        "新版本不可用:最近 {canary_requests} 个请求中有 {canary_failures} 个失败({canary_ratio};"
        "在线版本:{live_ratio})。",
    ),
    "judgement.errors": (
        "The new release fails {canary_ratio} of its requests ({canary_failures} of {canary_requests}), the live "
        "release beside it {live_ratio}.",
        "新版本有 {canary_ratio} 的请求失败({canary_requests} 个中 {canary_failures} 个),同时在线版本为 {live_ratio}。",
    ),
    "judgement.latency": (
        "The new release typically takes {canary_latency_s}, the live release beside it {live_latency_s}: "
        "{latency_ratio} times as long.",
        "新版本的典型延迟为 {canary_latency_s},同时在线版本为 {live_latency_s}:是后者的 {latency_ratio} 倍。",
    ),
    "judgement.tail": (
        "The new release gives {canary_ratio} of its answers later than {bound_s}, the live release beside it "
        "{live_ratio}.",
        "新版本有 {canary_ratio} 的响应慢于 {bound_s},同时在线版本为 {live_ratio}。",
    ),
    "judgement.errors_alone": (
        "The release fails {canary_ratio} of its requests ({canary_failures} of {canary_requests}); {limit} was the "
        "limit (before: {before_ratio}).",
        "该版本有 {canary_ratio} 的请求失败({canary_requests} 个中 {canary_failures} 个);"
        "上限为 {limit}(之前:{before_ratio})。",
    ),
    "judgement.latency_alone": (
        "The release gives {canary_ratio} of its answers later than {bound_s}; {limit} was the limit "
        "(before: {before_ratio}).",
        "该版本有 {canary_ratio} 的响应慢于 {bound_s};上限为 {limit}(之前:{before_ratio})。",
    ),
    "judgement.silent": (
        "The new release answered no request at all in this step: is it healthy, and does it get its share?",
        "新版本在本步骤没有应答任何请求:请检查其健康状况以及是否分到流量。",
    ),
    "judgement.few_requests": (
        "Only {canary_requests} answers of the new release: too little traffic to judge.",
        "新版本只有 {canary_requests} 个响应:流量太少,无法判断。",
    ),
    "judgement.no_live": (
        "The live release answered nothing at the same time: there is nothing to compare with.",
        "在线版本同时没有任何响应:没有可比较的对象。",
    ),
    "judgement.both_bad": (
        "The new release fails {canary_ratio} of its requests, but the live release does so too ({live_ratio}): "
        "look for what both need.",
        "新版本有 {canary_ratio} 的请求失败,但在线版本也一样({live_ratio}):请检查两者共同依赖的部分。",
    ),
    "judgement.objective_missed": (
        "The release fails {canary_ratio} of its requests, more than its objective allows, but not clearly more than "
        "before.",
        "该版本有 {canary_ratio} 的请求失败,超过目标,但并不明显多于之前。",
    ),
    "judgement.errors_invisible": (
        "{canary_requests} answers of the new release are too few: more errors than the objective allows could have "
        "gone unseen.",
        "新版本只有 {canary_requests} 个响应:即使错误率超过目标也可能看不出来。",
    ),
    "judgement.latency_invisible": (
        "Latency could not be judged finely enough: less than {visible_ratio} times the live release's would not have "
        "shown.",
        "延迟无法足够精确地判断:低于在线版本 {visible_ratio} 倍的变慢看不出来。",
    ),
}
