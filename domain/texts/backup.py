"""The report of `backup`, and the messages of `backup_watch`."""

TEXTS: dict[str, tuple[str, str]] = {
    "backup.report_title": ("What is protected", "哪些数据受到保护"),
    "backup.report_description": ("What is protected, what is not, and why", "哪些受保护、哪些没有，以及原因"),
    "backup.progress": ("backing up PostgreSQL", "正在备份 PostgreSQL"),
    "backup.all_protected": ("Everything is protected.", "全部受到保护。"),
    "backup.not_protected": (
        "**{count} of {total} not protected.** The table says what each lacks.",
        "**{total} 项中有 {count} 项未受保护。** 下表列出各自缺少什么。",
    ),
    "backup.table_head": (
        "| what | protected | newest | stored | encrypted | lacks |",
        "| 对象 | 受保护 | 最新 | 已存 | 加密 | 缺少 |",
    ),
    "backup.yes": ("yes", "是"),
    "backup.no": ("**no**", "**否**"),
    "backup.never": ("never", "从未"),
    "backup.taken": (
        "This run: {kind} backup `{id}` by {engine} {version}, {size} of files as {stored}, {seconds} s "
        "({rate}/s); {change}. Drills recover it to `{target}`.",
        "本次运行：{engine} {version} 的 {kind} 备份 `{id}`，文件 {size}，存储 {stored}，{seconds} 秒（{rate}/s）；"
        "{change}。演练恢复到 `{target}`。",
    ),
    "backup.grown": ("stored size {percent:+.1f} % since the one before", "存储量较上次 {percent:+.1f} %"),
    "backup.first": ("the first one", "第一次"),
    "backup.log": (
        "Log archive: {segments} segments, newest `{newest}`, {waiting} waiting, lag {lag} s, gaps: {gaps}.",
        "日志归档：{segments} 段，最新 `{newest}`，等待 {waiting}，延迟 {lag} 秒，缺口：{gaps}。",
    ),
    "backup.no_gap": ("none", "无"),
    "backup.place": ("Second place: {where}{reason}", "第二存放处：{where}{reason}"),
    "backup.no_place": ("none", "无"),
    "backup.expired": ("Expired: {count}. Swept: {swept}.", "已过期删除：{count}。已清扫：{swept}。"),
    "backup.growth": ("stored by each full backup", "每次全量备份的存储量"),
    "backup.history": ("stored", "已存"),
    "backup.encryption_client": ("before upload (age)", "上传前（age）"),
    "backup.encryption_engine": ("by the engine", "由引擎"),
    "backup.encryption_bucket": ("at the bucket; before upload: unavailable", "在存储桶；上传前：不可用"),
    "backup.encryption_none": ("**not encrypted**", "**未加密**"),
    "backup.lacks_none": ("a backup", "备份"),
    "backup.lacks_old": ("a recent backup", "近期备份"),
    "backup.lacks_unproven": ("a manifest that proves it whole", "证明完整的清单"),
    "backup.lacks_no_page_checksums": ("page checksums", "数据页校验和"),
    "backup.lacks_not_encrypted": ("encryption", "加密"),
    "backup.lacks_log_gap": ("a log without gaps", "无缺口的日志"),
    "backup.lacks_log_failing": ("archiving that works", "正常的归档"),
    "backup.lacks_log_late": ("a log archive in time", "及时的日志归档"),
    "backup.lacks_same_disk": ("a copy where another disk fails", "位于其他磁盘的副本"),
    "backup.alarm_subject": ("backup: {title}", "备份：{title}"),
    "backup.alarm_body": (
        "{title}\n\n{cause}\n\nLook: `slipway backup status`, then docs/runbooks/backup.md.",
        "{title}\n\n{cause}\n\n查看：`slipway backup status`，然后 docs/runbooks/backup.md。",
    ),
    "backup.alarm_title": ("PostgreSQL lacks {lacks}", "PostgreSQL 缺少{lacks}"),
}
