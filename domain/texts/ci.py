"""What people read of `ci`: its report, its progress, the cause of a red run."""

TEXTS: dict[str, tuple[str, str]] = {
    "ci.report_green": (
        "{application} {commit} is release {release}",
        "{application} {commit} 已成为版本 {release}",
    ),
    "ci.report_red": ("{application} {commit} is no release", "{application} {commit} 未成为版本"),
    "ci.report_requester": ("Pushed by {requester}.", "推送人：{requester}。"),
    "ci.report_lines": ("The first failure in {check}:", "{check} 中的第一个失败："),
    "ci.report_no_output": ("(no output)", "（无输出）"),
    "ci.report_description": ("What ci found for commit {commit}", "提交 {commit} 的 ci 结果"),
    "ci.column_check": ("Check", "检查"),
    "ci.column_kind": ("Kind", "类型"),
    "ci.column_result": ("Result", "结果"),
    "ci.column_seconds": ("s", "秒"),
    "ci.kind_build": ("build", "构建"),
    "ci.kind_unit": ("unit", "单元"),
    "ci.kind_integration": ("integration", "集成"),
    "ci.result_passed": ("passed", "通过"),
    "ci.result_failed": ("**failed**", "**失败**"),
    "ci.result_timed_out": ("**too long**", "**超时**"),
    "ci.result_skipped": ("not run", "未运行"),
    "ci.test_failed": ("Check '{check}' failed: {test}", "检查“{check}”失败：{test}"),
    "ci.command_failed": (
        "Check '{check}' failed: its command ended with {exit_code}",
        "检查“{check}”失败：命令以 {exit_code} 结束",
    ),
    "ci.timed_out": (
        "Check '{check}' did not end within {limit_s} s; it was ended with all its children",
        "检查“{check}”未在 {limit_s} 秒内结束，已连同其子进程一并终止",
    ),
    "ci.progress": ("ci of {application} {commit}", "{application} {commit} 的 ci"),
    "ci.done": (
        "Release {release} is pinned; cd takes it from here (run {run})",
        "版本 {release} 已固定，由 cd 继续（运行 {run}）",
    ),
}
