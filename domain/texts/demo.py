"""What the demo's timeline and its summary say."""

TEXTS: dict[str, tuple[str, str]] = {
    "demo.up": ("The stack is up ({seconds} s): {url}", "系统已启动（{seconds} 秒）：{url}"),
    "demo.settling": (
        "An earlier demo was interrupted: {count} of its runs are ended, and what they left is brought back.",
        "上一次演示被中断：正在结束其 {count} 个运行，并恢复其遗留状态。",
    ),
    "demo.act_baseline": (
        "Nothing is live yet: the helpdesk's first commit goes from push to production",
        "尚无线上版本：helpdesk 的首个提交从推送直达生产",
    ),
    "demo.act_good": (
        "A good commit: built, checked, tested, approved, judged under traffic, live on both sites",
        "一个好的提交：构建、检查、测试、批准，在真实流量下判定，并在两个站点上线",
    ),
    "demo.act_bad": (
        "A bad commit: it passes every test, but is slow and fails some requests",
        "一个坏的提交：通过了所有测试，但响应慢且部分请求失败",
    ),
    "demo.act_manual": (
        "A manual rollback: {administrator} goes back to the release before",
        "手动回滚：{administrator} 恢复到之前的版本",
    ),
    "demo.visitors": (
        "Visitors come in as {host}: {entries}; every answer is counted, none is asked for twice",
        "访客以 {host} 进入：{entries}；每个响应都被计数，失败不重试",
    ),
    "demo.traffic": (
        "{requests} requests, {outside} failed outside the bad canary; answering now: {shares}",
        "{requests} 个请求，坏金丝雀之外失败 {outside} 个；当前应答：{shares}",
    ),
    "demo.pushed": ("{pusher} pushes {commit} “{title}”", "{pusher} 推送 {commit} “{title}”"),
    "demo.run": ("{flow}: {url}", "{flow}：{url}"),
    "demo.checked": ("ci: {name}: {result} ({seconds} s)", "ci：{name}：{result}（{seconds} 秒）"),
    "demo.red": ("ci ends: {cause}", "ci 结束：{cause}"),
    "demo.pinned": (
        "release {release} is pinned: commit {commit}, {size} MB of source and locked wheels",
        "版本 {release} 已固定：提交 {commit}，源码与锁定的依赖共 {size} MB",
    ),
    "demo.proven": ("{environment}: {what}: {result} ({seconds} s)", "{environment}：{what}：{result}（{seconds} 秒）"),
    "demo.taken": ("{environment} is on {release}", "{environment} 已切换到 {release}"),
    "demo.asked": (
        "the run is suspended until a person decides (no process waits); deadline {deadline} UTC\n{url}",
        "运行已挂起，等待人工决定（无进程占用）；截止 {deadline} UTC\n{url}",
    ),
    "demo.by_hand": (
        "Your turn. Open {url}\n"
        "press ⋮ and Resume; choose “{decision}”, approver “{approver}”, and the code that this prints:\n"
        "slipway demo code {approver}",
        "请您决定。打开 {url}\n"
        "点击 ⋮ 与 Resume；选择“{decision}”，approver 填“{approver}”，验证码由下列命令显示：\n"
        "slipway demo code {approver}",
    ),
    "demo.granted": ("{actor}: {decision}, with a one-time code", "{actor}：{decision}，已用一次性验证码证明身份"),
    "demo.refused": ("{actor}'s answer does not count: {reason}", "{actor} 的答复无效：{reason}"),
    "demo.shifted": ("{site}: {shares}", "{site}：{shares}"),
    "demo.judged": ("step {step}: {report}", "步骤 {step}：{report}"),
    "demo.live": (
        "{release} has full share on every site, and was watched",
        "{release} 已在所有站点承载全部流量，并通过观察",
    ),
    "demo.rolled_back": (
        "{release} is rolled back on every site; {to} has all traffic (verified: {verified})",
        "{release} 已在所有站点回滚；{to} 承载全部流量（已验证：{verified}）",
    ),
    "demo.blocked": (
        "{release} is blocked until somebody unblocks it with a reason",
        "{release} 已被封禁，须说明理由方可解除",
    ),
    "demo.incident": ("incident {seq}, {severity}: {title}", "事件 {seq}，{severity}：{title}"),
    "demo.stopped": ("cd ends: {outcome}. {cause}", "cd 结束：{outcome}。{cause}"),
    "demo.authorised": (
        "{actor} is authorised by a one-time code: {reason}",
        "{actor} 已通过一次性验证码授权：{reason}",
    ),
    "demo.brought_back": (
        "{release} has all traffic of every site (verified: {verified})",
        "{release} 承载所有站点的全部流量（已验证：{verified}）",
    ),
    "demo.good_is_live": (
        "live {seconds} s after the push, seen from outside",
        "推送后 {seconds} 秒上线，已从外部确认",
    ),
    "demo.bad_is_gone": (
        "judged {verdict_s} s after its first visitor, gone {rollback_s} s later; it answered {requests} requests: "
        "{failed} failed, {slow} slow",
        "首个访客后 {verdict_s} 秒作出判定，再过 {rollback_s} 秒完全下线；共应答 {requests} 个请求："
        "失败 {failed} 个，缓慢 {slow} 个",
    ),
    "demo.manual_done": (
        "done and verified {seconds} s after the click; the last visitor on the release that was left came after "
        "{traffic} s",
        "点击后 {seconds} 秒完成并验证；被替换版本的最后一位访客出现在第 {traffic} 秒",
    ),
    "demo.failed": ("The demo stops: {problem}", "演示中止：{problem}"),
    "demo.interrupted": (
        "Interrupted. The stack stays up; the next demo settles what this one left.",
        "已中断。系统保持运行；下一次演示会清理本次遗留。",
    ),
    "demo.summary_title": ("What happened", "结果"),
    "demo.summary_requests": ("requests served to visitors", "访客请求总数"),
    "demo.summary_requests_value": (
        "{requests} ({rate}/s, p50 {p50} ms, p99 {p99} ms)",
        "{requests}（{rate}/秒，p50 {p50} 毫秒，p99 {p99} 毫秒）",
    ),
    "demo.summary_outside": ("failed outside the bad canary's share", "坏金丝雀份额之外的失败"),
    "demo.summary_harmed": ("harmed by the bad canary before it was gone", "坏金丝雀下线前受影响的请求"),
    "demo.summary_harmed_value": (
        "{harmed} of {requests} that it answered ({failed} failed, {slow} slow)",
        "其应答的 {requests} 个中有 {harmed} 个（失败 {failed}，缓慢 {slow}）",
    ),
    "demo.summary_push": ("push → full share on both sites", "推送 → 两站点全量上线"),
    "demo.summary_verdict": ("bad canary's first visitor → verdict FAIL", "坏金丝雀首个访客 → 判定 FAIL"),
    "demo.summary_rollback": ("verdict → no visitor on the bad release", "判定 → 坏版本不再有访客"),
    "demo.summary_manual": ("manual rollback: click → verified", "手动回滚：点击 → 已验证"),
    "demo.summary_ledger": ("ledger", "台账"),
    "demo.summary_ledger_value": (
        "{entries} entries, the chain of hashes holds: {holds}",
        "{entries} 条，哈希链完整：{holds}",
    ),
    "demo.summary_seconds": ("the whole demo", "整个演示"),
    "demo.seconds": ("{seconds} s", "{seconds} 秒"),
    "demo.yes": ("yes", "是"),
    "demo.no": ("NO", "否"),
    "demo.links": (
        "Runs in the Prefect UI (password: slipway credentials prefect_auth)",
        "Prefect UI 中的运行（密码：slipway credentials prefect_auth）",
    ),
    "demo.look": (
        "The stack stays up. Look around:\n"
        "  the desk itself          {desk}\n"
        "  a release's whole story  slipway history {release}\n"
        "  the record, proven       slipway ledger verify\n"
        "  approve by hand          make demo APPROVE=ui     (codes: slipway demo code)\n"
        "  these figures            {file}\n"
        "  the end                  make down",
        "系统保持运行，可继续查看：\n"
        "  应用页面      {desk}\n"
        "  版本全过程    slipway history {release}\n"
        "  台账校验      slipway ledger verify\n"
        "  人工批准      make demo APPROVE=ui     （验证码：slipway demo code）\n"
        "  本次数据      {file}\n"
        "  停止          make down",
    ),
    "demo.passed": ("Every claim of the demo held.", "演示的所有断言均成立。"),
    "demo.not_passed": ("These claims did not hold: {claims}", "以下断言不成立：{claims}"),
    "demo.short_steps": (
        "The helpdesk's slipway.toml asks for short steps ({steps}); the default for production watches 15 minutes. "
        "The judge is the same.",
        "helpdesk 的 slipway.toml 使用较短的步骤（{steps}）；生产默认观察 15 分钟。判定程序相同。",
    ),
}
