"""What people read of how other people's code is kept apart."""

TEXTS: dict[str, tuple[str, str]] = {
    "isolation.missing": (
        "This machine can't isolate other people's code fully. Missing: {kinds}. {reason}",
        "本机无法完全隔离他人代码，缺少：{kinds}。{reason}",
    ),
    "isolation.unknown": (
        "How far this build was isolated is unknown: it was made before that was looked at.",
        "此构建的隔离程度未知：构建时尚未检查。",
    ),
    "isolation.user": ("a user of its own", "独立用户"),
    "isolation.filesystem": ("a file system of its own", "独立文件系统"),
    "isolation.processes": ("a process table of its own", "独立进程表"),
    "isolation.network": ("a network of its own", "独立网络"),
    "isolation.shared_network": (
        "These had this machine's network, as slipway.toml asks (network = true): {names}.",
        "以下步骤按 slipway.toml 的要求（network = true）使用了本机网络：{names}。",
    ),
}
