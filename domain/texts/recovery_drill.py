"""The monthly drill of the whole: what each check found, the report, the messages."""

TEXTS: dict[str, tuple[str, str]] = {
    "recovery_drill.step_kit": ("Recovery kit", "恢复包"),
    "recovery_drill.step_isolation": ("Nothing reaches the outside", "与外界隔离"),
    "recovery_drill.step_server": ("PostgreSQL at one point", "PostgreSQL 恢复到同一时间点"),
    "recovery_drill.step_objects": ("Objects of the buckets", "存储桶对象"),
    "recovery_drill.step_ledger": ("Ledger", "账本"),
    "recovery_drill.step_prefect": ("Prefect", "Prefect"),
    "recovery_drill.step_application": ("Application accepted", "应用通过验收"),
    "recovery_drill.step_references": ("Objects that the database names", "数据库引用的对象"),
    "recovery_drill.step_objectives": ("Objectives kept", "满足目标"),
    "recovery_drill.step_destruction": ("Destroyed", "已销毁"),
    "recovery_drill.heading": ("Recovery drill: {verdict}", "整体恢复演练：{verdict}"),
    "recovery_drill.said_pass": (
        "From the recovery kit and the bucket alone everything came back, at {point}, and the applications passed "
        "their acceptance tests.",
        "仅凭恢复包和存储桶，一切均已恢复（{point}），各应用通过了验收测试。",
    ),
    "recovery_drill.said_fail": ("Failed: {checks}.", "失败：{checks}。"),
    "recovery_drill.said_unclear": (
        "Nothing failed, but this was not looked at, so that nothing is proven: {checks}.",
        "没有失败，但以下未能检查，因此尚未证明：{checks}。",
    ),
    "recovery_drill.facts": ("{begun} · {seconds} · signed {digest}", "{begun} · {seconds} · 签名 {digest}"),
    "recovery_drill.figure_rto": ("all back and accepted after (RTO)", "全部恢复并通过验收（RTO）"),
    "recovery_drill.figure_rpo": ("lost at most (RPO)", "最多丢失（RPO）"),
    "recovery_drill.trend": ("Time to recover everything", "整体恢复耗时"),
    "recovery_drill.description": ("{verdict} in {seconds}", "{verdict}，用时 {seconds}"),
    "recovery_drill.progress": ("Recovering everything into a scratch folder", "正在临时目录中恢复全部内容"),
    "recovery_drill.incident_failed": ("Everything could not be recovered: {checks}", "整体恢复失败：{checks}"),
    "recovery_drill.incident_missed": (
        "There was no recovery drill since {since}: whether everything could be recovered is not known",
        "自 {since} 起没有整体恢复演练：无法确定能否恢复全部内容",
    ),
    "recovery_drill.unclear_subject": ("Recovery drill unclear: {checks}", "整体恢复演练不明确：{checks}"),
    "recovery_drill.unclear_body": (
        "Nothing failed, but this could not be looked at: {checks}.\n\nRun: {run}\nNext: make it available, then start "
        "`recovery_drill` again (docs/runbooks/recovery_drill.md).",
        "没有失败，但以下未能检查：{checks}。\n\n运行：{run}\n下一步：使其可用，然后重新启动 `recovery_drill`"
        "（docs/runbooks/recovery_drill.md）。",
    ),
    "drill.recovery_kit": ("{count} secrets, written and read back", "{count} 个密钥，已写出并读回"),
    "drill.recovery_kit_current": (
        "the kit written {at} holds the secrets of today",
        "{at} 写出的恢复包包含当前密钥",
    ),
    "drill.recovery_kit_stale": (
        "Secrets changed since the kit was written {at}. Write a new one: slipway backup kit FILE.",
        "自 {at} 写出恢复包后密钥已更改。请重新写出：slipway backup kit FILE。",
    ),
    "drill.recovery_server": ("recovered to {point}", "已恢复到 {point}"),
    "drill.recovery_objects": (
        "{count} objects of {buckets}, each as recorded",
        "{buckets} 的 {count} 个对象，均与记录一致",
    ),
    "drill.recovery_objects_missing": ("missing: {missing}", "缺失：{missing}"),
    "drill.recovery_parts": ("runs: {running}", "运行中：{running}"),
    "drill.recovery_archiving": ("archive_mode = {mode}", "archive_mode = {mode}"),
    "drill.recovery_chain": ("the chain of {entries} entries holds", "{entries} 条记录的链完整"),
    "drill.recovery_anchors": ("it agrees with {count} anchors", "与 {count} 个锚点一致"),
    "drill.recovery_deployments": ("deployments: {names}", "部署：{names}"),
    "drill.recovery_blocks": ("{count} blocks; missing: {missing}", "{count} 个 block；缺失：{missing}"),
    "drill.recovery_served": ("serves on the recovered database ({site})", "在恢复的数据库上提供服务（{site}）"),
    "drill.recovery_accepted": ("acceptance tests passed", "验收测试通过"),
    "drill.recovery_no_application": ("no application is live in production", "生产环境没有在线应用"),
    "drill.recovery_references": (
        "{count} objects that the database names are in bucket {bucket}",
        "数据库引用的 {count} 个对象都在存储桶 {bucket} 中",
    ),
}
