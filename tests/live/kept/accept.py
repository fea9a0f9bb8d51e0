"""Acceptance: the service answers, and its notes are read from its database."""

import os
import urllib.request

request = urllib.request.Request(f"{os.environ['SLIPWAY_URL']}/notes", headers={"Host": os.environ["SLIPWAY_HOST"]})
words = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).read().decode()
assert words.startswith("first "), words
print(words)
