"""What people are told about those who may decide."""

TEXTS: dict[str, tuple[str, str]] = {
    "approver.locked_subject": ("{name} is locked after wrong codes", "{name} 因验证码错误被锁定"),
    "approver.locked_body": (
        "Too many wrong one-time codes were given in the name of {name}; until {until} no code of theirs counts. If "
        "it was not {name}, somebody else has Prefect's password: change it (docs/how-to/manage-approvers.md).",
        "以 {name} 的名义输入了过多错误的验证码；在 {until} 之前其验证码均无效。"
        "如果不是本人所为，则有他人持有 Prefect 的密码：请更换（docs/how-to/manage-approvers.md）。",
    ),
    "approver.changed_subject": ("{name}: who may decide has changed", "{name}：决定人有变更"),
    "approver.changed_body": (
        "{what} {name} ({roles}), by {actor}. {detail} If you did not expect this, look at `slipway approver list`.",
        "{what} {name}（{roles}），操作人 {actor}。{detail} 如非预期，请查看 `slipway approver list`。",
    ),
    "approver.enrolled": ("Enrolled:", "已登记："),
    "approver.revoked": ("Revoked:", "已撤销："),
    "approver.roles_changed": ("Roles or log-ins changed:", "角色或登录名已变更："),
    "approver.rotated": ("New seed:", "已更换种子："),
    "approver.recovered": ("Lost device replaced:", "已更换丢失的设备："),
}
