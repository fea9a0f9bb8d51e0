"""Messages about deliveries and rollbacks."""

TEXTS: dict[str, tuple[str, str]] = {
    "cd.stopped_subject": (
        "{application} {release} stopped in {environment}: {outcome}",
        "{application} {release} 停在 {environment}：{outcome}",
    ),
    "cd.stopped_body": (
        "Release {release} of {application} did not get past {environment}.\n\nCause: {cause}",
        "{application} 的版本 {release} 未能通过 {environment}。\n\n原因：{cause}",
    ),
    "cd.superseded_subject": (
        "{application} {release} is superseded by {newer}",
        "{application} {release} 已被 {newer} 取代",
    ),
    "cd.superseded_body": (
        "Release {release} of {application} had not reached production when commit {newer} was pushed. Its run is "
        "closed and asks nobody any more; the newer commit goes its own way.",
        "{application} 的版本 {release} 尚未进入生产时，提交 {newer} 已推送。其运行已关闭，不再等待任何人；"
        "新提交将自行交付。",
    ),
    "rollback.done_subject": (
        "{application}: {environment} rolled back to {release} by {actor}",
        "{application}：{actor} 已将 {environment} 回滚到 {release}",
    ),
    "rollback.done_body": (
        "{environment} of {application} serves {release} again (before: {bad}).\n\nReason: {reason}\n\n"
        "Verified: {verified}",
        "{application} 的 {environment} 已恢复为 {release}（此前：{bad}）。\n\n原因：{reason}\n\n核实：{verified}",
    ),
}
