"""The demo: the whole journey, for real, unattended, under traffic.

`slipway demo` runs it (`deployments/commands/demo.py`). It uses nothing but what any application uses: a push, the
door, the flows, an approver's one-time code, and an outside client that counts every answer.
"""
