"""Incidents, and the messages about runs that ended badly."""

TEXTS: dict[str, tuple[str, str]] = {
    "incident.opened_subject": ("{severity} {application}: {title}", "{severity} {application}：{title}"),
    "incident.opened_body": (
        "Incident {number}, severity {severity}, application {application}, environment {environment}.\n\n"
        "Cause: {cause}\n\nRun: {run}\nNext: `slipway history {application}` shows the whole course.",
        "事件 {number}，级别 {severity}，应用 {application}，环境 {environment}。\n\n原因：{cause}\n\n运行：{run}\n"
        "下一步：`slipway history {application}` 查看完整经过。",
    ),
    "incident.rolled_back": (
        "{environment} rolled back to {previous} by itself",
        "{environment} 已自动回滚到 {previous}",
    ),
    "incident.rollout_failed": ("rollout to {environment} failed", "{environment} 发布失败"),
    "incident.run_died": ("run {name} ended as {state}", "运行 {name} 以 {state} 结束"),
    "incident.run_missed": ("run {name} is late since {since}", "运行 {name} 自 {since} 起未启动"),
    "incident.died_midway": (
        "the run that was rolling out ended as {state}; {environment} was settled on {release}",
        "正在发布的运行以 {state} 结束；{environment} 已恢复到 {release}",
    ),
    "incident.break_glass": (
        "{environment} was rolled back by hand to {release} (break-glass)",
        "{environment} 已被手动回滚到 {release}（break-glass）",
    ),
    "incident.drift": (
        "{environment}/{site} does not serve what the ledger says",
        "{environment}/{site} 与台账不一致",
    ),
}
