"""Clean-up: what would go, what went, and why somebody is asked."""

TEXTS: dict[str, tuple[str, str]] = {
    "cleanup.heading": ("Clean-up", "数据清理"),
    "cleanup.columns": (
        "where | policy | rows | share | bytes | outcome",
        "位置 | 策略 | 行数 | 占比 | 字节 | 结果",
    ),
    "cleanup.none": ("Nothing has a clean-up policy here.", "此处没有任何清理策略。"),
    "cleanup.failed": ("Failed:", "失败："),
    "cleanup.done": ("deleted and proven; {left} rows left", "已删除并验证；剩余 {left} 行"),
    "cleanup.course_nothing": ("nothing has expired", "没有过期数据"),
    "cleanup.course_apply": ("dry run: approved, a run would delete this", "试运行：已批准，正式运行将删除"),
    "cleanup.course_ask": ("waits for an approval:", "等待批准："),
    "cleanup.details": (
        "Older than {cutoff}: from {oldest} to {newest}, of {total} rows. Way: {method}. Along with it: {related}. "
        "Kept by holds: {held}.",
        "早于 {cutoff}：自 {oldest} 至 {newest}，共 {total} 行。方式：{method}。"
        "一并删除：{related}。因保全保留：{held}。",
    ),
    "cleanup.sample": ("The first of them: {sample}", "样例：{sample}"),
    "cleanup.hashes": (
        "To approve with `cleanup_approval`: every run within the caps `{policy}`, this plan alone `{plan}`.",
        "使用 `cleanup_approval` 批准：上限内的每次运行 `{policy}`，仅此计划 `{plan}`。",
    ),
    "cleanup.plot": ("Bytes freed by clean-ups so far", "清理累计释放的字节"),
    "cleanup.reason_unapproved": ("Nobody has approved the policy.", "策略尚未批准。"),
    "cleanup.reason_changed": ("The policy was changed since it was approved.", "策略在批准后已更改。"),
    "cleanup.reason_rows": ("{rows} rows, the cap is {most}.", "{rows} 行，上限为 {most}。"),
    "cleanup.reason_share": ("{share} % of the table, the cap is {most} %.", "占表的 {share}%，上限为 {most}%。"),
    "cleanup.reason_bytes": ("{bytes} bytes, the cap is {most}.", "{bytes} 字节，上限为 {most}。"),
    "cleanup.reason_word": (
        "{share} % of the table: above {asked:g} % somebody has to say so.",
        "占表的 {share}%：超过 {asked:g}% 必须明确确认。",
    ),
    "cleanup.reason_old_approval": (
        "Its approval is older than {days} days.",
        "其批准已超过 {days} 天。",
    ),
    "cleanup.waiting_line": (
        "- {policy} of {application}: {rows} rows. {reasons} Plan {hash}.",
        "- {application} 的 {policy}：{rows} 行。{reasons} 计划 {hash}。",
    ),
    "cleanup.waiting_subject": ("Clean-up: {count} policies wait for a word", "数据清理：{count} 个策略等待确认"),
    "cleanup.waiting_body": (
        "{lines}\n\nThe report `cleanup` in the Prefect UI shows what would go. "
        "Answer with the flow `cleanup_approval`.",
        "{lines}\n\nPrefect 界面中的报告 `cleanup` 显示将删除的内容。请用流程 `cleanup_approval` 回复。",
    ),
}
