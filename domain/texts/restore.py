"""Restores in an emergency: the page before, the approval's form, the report, messages."""

TEXTS: dict[str, tuple[str, str]] = {
    "restore.heading_restore": (
        "{application} in {environment}: the database back to {to}",
        "{application}：将 {environment} 的数据库恢复到 {to}",
    ),
    "restore.heading_undo": (
        "{application} in {environment}: undo a restore, back to what was kept as {kept}",
        "{application}：撤销 {environment} 的恢复，换回保留的 {kept}",
    ),
    "restore.heading_remove": (
        "{application} in {environment}: remove the database kept as {kept} for good",
        "{application}：永久删除 {environment} 中保留的数据库 {kept}",
    ),
    "restore.summary": (
        "{lost} rows that are there now would be lost or changed; {back} rows come back or become as they were.",
        "现有的 {lost} 行将丢失或改变；{back} 行将恢复或变回原样。",
    ),
    "restore.summary_at_least": (
        "At least {lost} rows that are there now would be lost or changed, at least {back} come back; tables with a "
        "question mark have no primary key or too many rows to be compared row by row.",
        "现有的至少 {lost} 行将丢失或改变，至少 {back} 行将恢复；带问号的表没有主键或行数过多，未逐行比较。",
    ),
    "restore.summary_no_live": (
        "What is live could not be looked at ({problem}): what would be lost is not known.",
        "无法读取线上数据库（{problem}）：将丢失的内容未知。",
    ),
    "restore.summary_nothing": ("Nothing could be restored.", "未能恢复任何内容。"),
    "restore.summary_remove": ("{rows} rows would be gone for good.", "{rows} 行将被永久删除。"),
    "restore.warn_failed": (
        "**Failed checks: {checks}.** Read what they found on the report's page before you answer.",
        "**未通过的检查：{checks}。** 请先在报告页阅读详情再答复。",
    ),
    "restore.warn_unfit": (
        "**The live release may not run on it:** {reason}",
        "**线上版本可能无法使用该数据库：** {reason}",
    ),
    "restore.warn_migrations": (
        "It is from before migrations of the live release: {names}. They are applied to it again afterwards.",
        "该数据库早于线上版本的迁移：{names}。恢复后会重新执行。",
    ),
    "restore.warn_writing": (
        "People go on writing while you read: what is written until it is exchanged is lost as well, and kept with "
        "the rest of the database as it was.",
        "在您阅读期间仍有写入：切换之前写入的内容同样会丢失，但会与原数据库一起保留。",
    ),
    "restore.preview_dry": (
        "This was a dry run; nothing was changed. Start it again without `dry_run` to be asked.",
        "这是演练，未做任何改变。若要执行，请取消 `dry_run` 后重新启动。",
    ),
    "restore.preview_asks": ("It waits for an approval.", "等待批准。"),
    "restore.preview_bad": ("It is not good enough to be taken over.", "不满足切换条件。"),
    "restore.table_columns": (
        "table | rows now | rows then | lost | changed | back | remarks",
        "表 | 现有行 | 当时行 | 丢失 | 改变 | 恢复 | 备注",
    ),
    "restore.tables_more": (
        "{more} more tables differ, {same} are the same.",
        "另有 {more} 个表不同，{same} 个表相同。",
    ),
    "restore.tables_same": ("All {count} tables are the same.", "全部 {count} 个表相同。"),
    "restore.other_columns": ("other columns", "列不同"),
    "restore.newest": ("newest row: {now} → {then}", "最新行：{now} → {then}"),
    "restore.none": ("none", "无"),
    "restore.reason": ("Why", "原因"),
    "restore.from": ("Backup and place", "备份与位置"),
    "restore.last_commit": ("Last commit that it holds", "包含的最后一次提交"),
    "restore.log_since": ("Log of the whole server since", "其后整个服务器的日志量"),
    "restore.kept_since": ("Kept since", "保留自"),
    "restore.proven": ("Proven", "已证明"),
    "restore.proofs": ("{passed} checks passed; not available: {lacking}", "{passed} 项检查通过；不可用：{lacking}"),
    "restore.size": ("Size, now → then", "大小，现在 → 当时"),
    "restore.consequences_restore": (
        "**Approve:** what was restored is loaded beside the live database and compared with what was proven; then "
        "both change their names within a moment, in which connections of the application end. The database as it is "
        "now is kept, and `undo` brings it back. Other databases, the ledger and Prefect stay as they are.\n\n"
        "**Reject:** nothing changes and the run ends.\n\n**Silence** until {deadline} is a no.\n\n"
        "Your name and the six digits of your authenticator prove that it is you; a code counts once. Who asked for "
        "this cannot approve it.",
        "**批准（approve）：** 恢复的内容会载入线上数据库旁边并与已证明的内容比对；随后二者在瞬间交换名称，"
        "应用的连接会中断。当前数据库会保留，可用 `undo` 换回。其他数据库、账本与 Prefect 保持不变。\n\n"
        "**拒绝（reject）：** 不做任何改变，运行结束。\n\n**沉默**到 {deadline} 即视为拒绝。\n\n"
        "请填写姓名与验证器的六位数字以证明身份；每个验证码只能使用一次。申请人不能批准自己的申请。",
    ),
    "restore.consequences_undo": (
        "**Approve:** the live database and the one kept as {kept} change their names within a moment, in which "
        "connections of the application end. What is live now is kept.\n\n"
        "**Reject:** nothing changes and the run ends.\n\n**Silence** until {deadline} is a no.\n\n"
        "Your name and the six digits of your authenticator prove that it is you; a code counts once. Who asked for "
        "this cannot approve it.",
        "**批准（approve）：** 线上数据库与保留的 {kept} 在瞬间交换名称，应用的连接会中断。当前数据库会保留。\n\n"
        "**拒绝（reject）：** 不做任何改变，运行结束。\n\n**沉默**到 {deadline} 即视为拒绝。\n\n"
        "请填写姓名与验证器的六位数字以证明身份；每个验证码只能使用一次。申请人不能批准自己的申请。",
    ),
    "restore.consequences_remove": (
        "**Approve:** the database kept as {kept} is removed for good. What is live stays as it is.\n\n"
        "**Reject:** nothing changes and the run ends.\n\n**Silence** until {deadline} is a no.\n\n"
        "Your name and the six digits of your authenticator prove that it is you; a code counts once. Who asked for "
        "this cannot approve it.",
        "**批准（approve）：** 保留的数据库 {kept} 将被永久删除。线上数据库保持不变。\n\n"
        "**拒绝（reject）：** 不做任何改变，运行结束。\n\n**沉默**到 {deadline} 即视为拒绝。\n\n"
        "请填写姓名与验证器的六位数字以证明身份；每个验证码只能使用一次。申请人不能批准自己的申请。",
    ),
    "restore.refused_drift": (
        "What was shown has changed since: another release is live, or the live database is another. Read it again.",
        "所展示的内容已经变化：线上版本或线上数据库已不同。请重新阅读。",
    ),
    "restore.waiting_subject": (
        "{application}: a restore in {environment} waits for you",
        "{application}：{environment} 的数据库恢复等待批准",
    ),
    "restore.waiting_body": ("Answer until {deadline}: {url}", "请在 {deadline} 前答复：{url}"),
    "restore.loading": ("loading beside the live database", "正在载入到线上数据库旁边"),
    "restore.preview_description": (
        "{application}: what a restore would lose and bring back",
        "{application}：恢复将丢失与找回的内容",
    ),
    "restore.report_description": ("{application}: what was restored", "{application}：恢复结果"),
    "restore.ended_completed": (
        "Done: {application} in {environment} works on the other database.",
        "完成：{environment} 的 {application} 已使用另一个数据库。",
    ),
    "restore.ended_stopped": (
        "Stopped: the live database of {application} in {environment} is as it was.",
        "已停止：{environment} 中 {application} 的线上数据库保持原样。",
    ),
    "restore.ended_refused": (
        "Refused: the live database of {application} in {environment} is as it was.",
        "已拒绝：{environment} 中 {application} 的线上数据库保持原样。",
    ),
    "restore.lost_and_back": ("What was lost and what came back", "丢失与找回的内容"),
    "restore.checks": ("Proofs", "证明"),
    "restore.check_columns": ("check | outcome | found | s", "检查 | 结果 | 发现 | 秒"),
    "restore.figure_columns": ("figure | value", "指标 | 数值"),
    "restore.figure_size_bytes": ("size of the backup", "备份大小"),
    "restore.figure_restore_s": ("laying out the backup", "还原文件"),
    "restore.figure_recovery_s": ("recovery to the place", "恢复到目标"),
    "restore.figure_rto_s": ("until the scratch server answered", "到临时服务器可用"),
    "restore.figure_checks_s": ("proofs", "证明"),
    "restore.figure_whole_s": ("from the begin to the end, waiting included", "从开始到结束（含等待）"),
    "restore.figure_exchange_s": ("the moment without connections", "连接中断的时间"),
    "restore.incident": ("incident", "事件"),
    "restore.way_back": (
        "**The way back:** `slipway restore undo {application} {kept} --environment {environment} --reason …`, or the "
        "flow `restore` with act `undo` and kept `{kept}`. It asks for an approval, too.",
        "**撤销方法：** `slipway restore undo {application} {kept} --environment {environment} --reason …`，"
        "或以 act `undo`、kept `{kept}` 启动流程 `restore`。同样需要批准。",
    ),
    "restore.kept_heading": ("Kept from before", "保留的旧数据库"),
    "restore.kept_columns": ("key | database | size | kept for", "键 | 数据库 | 大小 | 已保留"),
    "restore.kept_words": (
        "Nothing removes them by itself. When nobody needs one any more: `slipway restore remove {application} KEY "
        "--environment {environment} --reason …`.",
        "它们不会自动删除。不再需要时："
        "`slipway restore remove {application} KEY --environment {environment} --reason …`。",
    ),
    "restore.incident_restore": (
        "{environment}: the database is being restored to {to}",
        "{environment}：数据库正在恢复到 {to}",
    ),
    "restore.incident_undo": (
        "{environment}: a restore of the database is being undone ({to})",
        "{environment}：正在撤销数据库恢复（{to}）",
    ),
    "restore.incident_bad": (
        "{environment}: a backup can't be used for a restore: {checks}",
        "{environment}：备份无法用于恢复：{checks}",
    ),
    "restore.died_after": (
        "{environment}: a restore ({id}) died after the databases were exchanged; it stands",
        "{environment}：恢复（{id}）在切换数据库之后中断；结果有效",
    ),
    "restore.died_before": (
        "{environment}: a restore ({id}) died before the databases were exchanged; all is as it was",
        "{environment}：恢复（{id}）在切换数据库之前中断；一切保持原样",
    ),
}
