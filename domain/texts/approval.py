"""The approval's form and its answers."""

TEXTS: dict[str, tuple[str, str]] = {
    "approval.heading": ("{application}: release to {environment}?", "{application}：是否发布到 {environment}？"),
    "approval.asked_again": ("Asked again.", "再次询问。"),
    "approval.release": ("Release", "版本"),
    "approval.commit": ("Commit", "提交"),
    "approval.image": ("Image", "镜像"),
    "approval.live": ("Live now", "当前线上"),
    "approval.nothing_live": ("nothing yet", "尚无"),
    "approval.requester": ("Requested by", "申请人"),
    "approval.requester_claimed": ("by no signed push", "非签名推送"),
    "approval.settings": ("Settings, version", "设置版本"),
    "approval.secrets": ("Secrets, by version", "密钥及其版本"),
    "approval.deadline": ("Answer until", "截止时间"),
    "approval.differences": ("What differs from what is live", "与线上的差异"),
    "approval.commits": ("Commits", "提交"),
    "approval.configuration": ("Configuration", "配置"),
    "approval.migrations": ("Migrations", "数据库迁移"),
    "approval.proven": ("What was proven", "已验证"),
    "approval.report": ("The whole report", "完整报告"),
    "approval.consequences": (
        "**Approve:** the release goes to {environment}: the standby site first, then the primary in judged steps; a "
        "bad verdict brings the live release back by itself.\n\n**Reject:** nothing changes and the run ends.\n\n"
        "**Silence** until {deadline} is a no.\n\n"
        "Your name and the six digits of your authenticator prove that it is you; a code counts once. Whoever pushed "
        "this release or wrote one of its commits cannot approve it.",
        "**批准（approve）：** 版本进入 {environment}：先备用站点，再主站点逐步放量并逐步判定；"
        "判定为坏则自动恢复线上版本。\n\n"
        "**拒绝（reject）：** 不做任何改变，运行结束。\n\n**沉默**到 {deadline} 即视为拒绝。\n\n"
        "请填写姓名与验证器的六位数字以证明身份；每个验证码只能使用一次。推送者与其中提交的作者不能批准本次发布。",
    ),
    "approval.field_decision": ("approve or reject", "批准（approve）或拒绝（reject）"),
    "approval.field_approver": ("your name, as enrolled", "您登记的姓名"),
    "approval.field_code": ("six digits from your authenticator", "验证器上的六位数字"),
    "approval.field_comment": ("for the record", "备注，写入台账"),
    "approval.refused_unknown": (
        "Nobody named '{approver}' is enrolled. Enrol with `slipway approver add`.",
        "没有登记名为“{approver}”的人。请用 `slipway approver add` 登记。",
    ),
    "approval.refused_role": (
        "'{approver}' does not have the role that this takes ({role}: {place}).",
        "“{approver}”没有所需的角色（{role}：{place}）。",
    ),
    "approval.refused_self": (
        "'{approver}' asked for this release: pushed it, or wrote one of its commits. Somebody else has to decide.",
        "“{approver}”是本次发布的申请人（推送者或其中提交的作者），须由他人决定。",
    ),
    "approval.refused_wrong": (
        "The code of '{approver}' is wrong or too old. The server's time is {time} UTC; compare your device's clock.",
        "“{approver}”的验证码错误或已过期。服务器时间为 {time} UTC，请核对设备时钟。",
    ),
    "approval.tries_left": (
        "{left} more wrong codes lock this name for {minutes} minutes.",
        "再错 {left} 次，该姓名将被锁定 {minutes} 分钟。",
    ),
    "approval.lock_begun": (
        "Too many wrong codes: this name is locked until {until} UTC, everywhere.",
        "错误次数过多：该姓名已被锁定至 {until} UTC，所有操作均受限。",
    ),
    "approval.refused_locked": (
        "'{approver}' is locked until {until} UTC after too many wrong codes; before that no code counts, right or "
        "wrong. The server's time is {time} UTC.",
        "“{approver}”因验证码错误次数过多被锁定至 {until} UTC；在此之前任何验证码均无效。服务器时间为 {time} UTC。",
    ),
    "approval.everywhere": ("everywhere", "全部"),
    "approval.refused_used": (
        "The code of '{approver}' was used before. Wait for the next one.",
        "“{approver}”的验证码已使用过，请等待下一个。",
    ),
    "approval.refused_bypassed": (
        "The run was resumed without an answer. That is no approval.",
        "运行在没有答复的情况下被恢复，这不是批准。",
    ),
    "approval.refused_malformed": (
        "The answer was not complete: {detail}.",
        "答复不完整：{detail}。",
    ),
    "approval.refused_superseded": (
        "This release was superseded: commit {newer} was pushed after it. Decide on that one.",
        "该版本已被取代：其后推送了提交 {newer}。请就新提交作出决定。",
    ),
    "approval.unrelated": (
        "**Its history does not contain what is live** (a force push?): what was live may be lost with it.",
        "**其历史不包含当前线上版本**（是否强制推送？）：线上已有的内容可能随之丢失。",
    ),
    "approval.refused_drift": (
        "What is live, or what was shown, changed after the last asking. Look again.",
        "上次询问之后，线上版本或所展示的内容已改变，请重新查看。",
    ),
    "approval.waiting_subject": (
        "{application}: {environment} waits for your decision",
        "{application}：{environment} 等待您的决定",
    ),
    "approval.waiting_body": (
        "Release {release} waits for an approval until {deadline}. Decide here: {url} (⋮ menu, Resume).",
        "版本 {release} 等待批准，截止 {deadline}。请在此决定：{url}（⋮ 菜单，Resume）。",
    ),
    "approval.expired_subject": (
        "{application}: nobody answered for {environment}",
        "{application}：{environment} 无人答复",
    ),
    "approval.expired_body": (
        "Release {release} was not approved until {deadline}. Silence is no; nothing was changed.",
        "版本 {release} 在 {deadline} 之前未获批准。沉默即拒绝，未做任何改变。",
    ),
    "approval.unclear_heading": (
        "{application}: {environment} cannot be judged. What now?",
        "{application}：{environment} 无法判定，如何处理？",
    ),
    "approval.unclear_consequences": (
        "**wait:** the same share is watched once more.\n\n**proceed:** the next step is taken although nothing was "
        "proven; your name stands beside it.\n\n**rollback:** the live release takes all traffic again.\n\n"
        "**Silence** until {deadline} is a rollback.",
        "**wait：** 以相同比例再观察一次。\n\n**proceed：** 虽未证明仍进入下一步，并记录您的姓名。\n\n"
        "**rollback：** 线上版本重新承接全部流量。\n\n**沉默**到 {deadline} 即回滚。",
    ),
    "approval.field_course": ("wait, proceed or rollback", "wait（再观察）、proceed（继续）或 rollback（回滚）"),
}
