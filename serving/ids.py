"""Ids of requests and predictions that nobody gave one."""

import itertools
from collections.abc import Callable
from secrets import token_hex

# 64 random bits for this process and a count are as unique as 128 random bits, and made in a tenth of the time
new_id: Callable[[], str] = map("{}{:016x}".format, itertools.repeat(token_hex(8)), itertools.count()).__next__
