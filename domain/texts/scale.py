"""Changes of size: the approval's form, the load-following policy's, and what people are told of them."""

TEXTS: dict[str, tuple[str, str]] = {
    "scale.heading": (
        "{application}: another size in {environment}?",
        "{application}：是否调整 {environment} 的规模？",
    ),
    "scale.instances": ("Instances on each site", "每个站点的实例数"),
    "scale.memory_bytes": ("Memory of an instance", "每个实例的内存"),
    "scale.cpu_share": ("Processor of an instance (cores)", "每个实例的处理器（核）"),
    "scale.workers": ("Workers of an instance", "每个实例的工作进程"),
    "scale.in_all": ("Instances on all sites ({sites})", "全部站点（{sites}）的实例数"),
    "scale.memory_in_all": ("Memory limits in all", "内存上限合计"),
    "scale.cpu_in_all": ("Processor limits in all (cores)", "处理器上限合计（核）"),
    "scale.cost": ("Cost of a month, by the prices in capacity.yaml", "每月费用（按 capacity.yaml 的价格）"),
    "scale.cost_unknown": ("can't be told: {problem}", "无法得知：{problem}"),
    "scale.cost_without_memory_bytes": ("and memory, which has no limit", "另加未设上限的内存"),
    "scale.cost_without_cpu_share": ("and processor, which has no limit", "另加未设上限的处理器"),
    "scale.unlimited": ("no limit", "不限"),
    "scale.now": ("now", "当前"),
    "scale.then": ("then", "调整后"),
    "scale.reason": ("Why", "原因"),
    "scale.asked_by": ("Asked by", "申请人"),
    "scale.nobody": ("nobody said who", "未说明"),
    "scale.replaces": (
        "Limits or workers change, so every instance is replaced: new ones start beside the old ones, which takes "
        "twice the memory for that while.",
        "上限或工作进程数改变，因此所有实例都会被替换：新实例先与旧实例并行启动，期间内存占用加倍。",
    ),
    "scale.consequences": (
        "**Approve:** standby site first, then the primary. New instances get requests when they are ready; those that "
        "go get none any more, finish what they have, and end. If one does not get healthy, the old size comes back "
        "by itself. The size stays for later releases and rollbacks.\n\n"
        "**Reject:** nothing changes and the run ends.\n\n"
        "**Silence** until {deadline} is a no.\n\n"
        "Your name and the six digits of your authenticator prove that it is you; a code counts once. Who asked for "
        "this cannot approve it.",
        "**批准（approve）：** 先备用站点，再主站点。新实例就绪后才接收请求；离开的实例不再接收新请求，"
        "处理完手中请求后结束。若有实例不健康，则自动恢复原规模。该规模对之后的发布与回滚继续有效。\n\n"
        "**拒绝（reject）：** 不做任何改变，运行结束。\n\n**沉默**到 {deadline} 即视为拒绝。\n\n"
        "请填写姓名与验证器的六位数字以证明身份；每个验证码只能使用一次。申请人不能批准自己的申请。",
    ),
    "scale.refused_drift": (
        "What was shown has changed since: another release is live, or the size is another. Read it again.",
        "所展示的内容已经变化：线上版本或规模已不同。请重新阅读。",
    ),
    "scale.waiting_subject": (
        "{application}: a change of size in {environment} waits for you",
        "{application}：{environment} 的规模调整等待批准",
    ),
    "scale.waiting_body": ("Answer until {deadline}: {url}", "请在 {deadline} 前答复：{url}"),
    "scale.rolled_back": (
        "{environment}: the new size did not get healthy; the old one is back",
        "{environment}：新规模未能健康运行，已恢复原规模",
    ),
    "scale.died": (
        "{environment}: a change of size died midway; the size before is back",
        "{environment}：规模调整中途中断，已恢复原规模",
    ),
    "load_policy.heading": (
        "{application}: follow the load in {environment} without asking?",
        "{application}：是否允许在 {environment} 按负载自动调整而不再询问？",
    ),
    "load_policy.bounds": ("Instances on each site, least to most", "每个站点的实例数范围"),
    "load_policy.target": ("Share of capacity to work at", "目标负载比例"),
    "load_policy.capacity": ("Capacity of an instance", "每个实例的容量"),
    "load_policy.measured": ("Load is measured for", "负载测量时长"),
    "load_policy.window": ("Fewer only if that was enough for", "持续足够多久后才减少"),
    "load_policy.cool_down": ("After a change nothing for", "调整后的冷却时间"),
    "load_policy.requests": ("requests/s", "请求/秒"),
    "load_policy.cores": ("cores", "核"),
    "load_policy.none": ("none", "无"),
    "load_policy.withdrawn": ("withdrawn", "撤销"),
    "load_policy.consequences": (
        "**Approve:** from now on the flow `follow_load` changes the number of instances between these bounds by "
        "itself, every minute if need be, and records each change. It never changes limits, never works during a "
        "rollout. A changed policy is asked for again.\n\n**Reject:** nothing changes and the run ends.\n\n"
        "**Silence** until {deadline} is a no.\n\nYour name and the six digits of your authenticator prove that it is "
        "you; a code counts once. Who asked for this cannot approve it.",
        "**批准（approve）：** 此后流程 `follow_load` 会在该范围内自行调整实例数（最多每分钟一次），并记录每次调整。"
        "它不改变上限，也不在发布期间工作。策略改变时会重新询问。\n\n**拒绝（reject）：** 不做任何改变，运行结束。\n\n"
        "**沉默**到 {deadline} 即视为拒绝。\n\n"
        "请填写姓名与验证器的六位数字以证明身份；每个验证码只能使用一次。申请人不能批准自己的申请。",
    ),
    "load_policy.refused_drift": (
        "The policy in force has changed since this was shown. Read it again.",
        "展示之后，生效中的策略已经改变。请重新阅读。",
    ),
    "load_policy.waiting_subject": (
        "{application}: a policy for following the load in {environment} waits for you",
        "{application}：{environment} 的负载跟随策略等待批准",
    ),
    "load_policy.waiting_body": ("Answer until {deadline}: {url}", "请在 {deadline} 前答复：{url}"),
    "load.title": ("{application} in {environment}: load and instances", "{application} 在 {environment}：负载与实例"),
    "load.load": ("load", "负载"),
    "load.capacity": ("capacity at the target", "目标下的容量"),
    "load.instances": ("instances on each site", "每个站点的实例数"),
    "load.at": ("at (UTC)", "时间（UTC）"),
    "load.used": ("of capacity", "占容量"),
    "load.decision": ("decision", "决定"),
    "load.steady": ("as it is", "保持"),
    "load.out": ("{instances} instances: the load is above the target", "{instances} 个实例：负载高于目标"),
    "load.in": (
        "{instances} instances: the load was below the target for long enough",
        "{instances} 个实例：负载已足够久低于目标",
    ),
    "load.bounds": ("{instances} instances: the policy's bounds", "{instances} 个实例：策略范围"),
    "load.cooling": ("waits: changed less than {seconds} s ago", "等待：{seconds} 秒内刚调整过"),
    "load.watching": ("waits: not yet below the target for {seconds} s", "等待：低于目标未满 {seconds} 秒"),
    "load.busy": ("nothing: {why}", "不动作：{why}"),
    "load.unknown": ("nothing: the load is not known ({why})", "不动作：负载未知（{why}）"),
    "load.failed": ("went back: {why}", "已恢复：{why}"),
    "load.nothing_yet": ("No look yet.", "尚无记录。"),
}
