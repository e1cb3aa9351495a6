"""Rules in their canonical form, and other spellings of the same rules (contract §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMS: Mapping[str, tuple[str, ...]] = {
    '{"max_cpu_percent":50}': (
        '{"max_cpu_percent":50.0}',
        '{"max_cpu_percent":5e1}',
        '{"max_cpu_percent":5E+1}',
        '{"max_cpu_percent":500e-1}',
        '{"max_cpu_percent":50.00000000000000000001}',
        '{"max_cpu_percent": 50}',
        ' { "max_cpu_percent" : 50 } ',
        '{\r\n\t"max_cpu_percent":50}',
        '{"max_cpu\\u005fpercent":50}',
    ),
    '{"max_cpu_percent":10}': ('{"max_cpu_percent":0.1e2}', '{"max_cpu_percent":1000e-2}'),
    '{"max_cpu_percent":33.333}': ('{"max_cpu_percent":33.3330}', '{"max_cpu_percent":33333e-3}'),
    '{"max_cpu_percent":1.0000000000000002}': ('{"max_cpu_percent":1.00000000000000022}',),
    '{"max_cpu_percent":99.99999999999999}': ('{"max_cpu_percent":99.9999999999999858}',),
    '{"max_cpu_percent":12.345678901234567}': ('{"max_cpu_percent":12.3456789012345678}',),
    '{"max_cpu_percent":100,"max_gpu_percent":99.5,"max_memory_percent":1}': (
        '{"max_memory_percent":1,"max_cpu_percent":100,"max_gpu_percent":99.5}',
        '{"max_gpu_percent":99.5,"max_memory_percent":1,"max_cpu_percent":100}',
        '{"max_cpu_percent":1e2,"max_gpu_percent":99.50,"max_memory_percent":1.0}',
    ),
    '{"allowed_hours":[22,23,0,1,2],"max_cpu_percent":10,"timezone":"Asia/Seoul"}': (
        '{"max_cpu_percent":10,"timezone":"Asia/Seoul","allowed_hours":[22,23,0,1,2]}',
        '{"allowed_hours":[22, 23, 0, 1, 2],"max_cpu_percent":10,"timezone":"Asia/Seoul"}',
        '{"allowed_hours":[22,23,0,1,2],"max_cpu_percent":10,"timezone":"Asia\\/Seoul"}',
        '{"allowed_hours":[22,23,0,1,2],"max_cpu_percent":10,"timezone":"\\u0041sia/Seoul"}',
    ),
    '{"allowed_hours":[0,1,2,3],"max_cpu_percent":1}': (
        '{"allowed_hours":[0,1,2.0,3e0],"max_cpu_percent":1}',
        '{"allowed_hours":[0e5,10e-1,0.2e1,3],"max_cpu_percent":1.0}',
    ),
    '{"max_cpu_percent":10,"timezone":"\\u003cb\\u003e\\u0026\\"q\\"\\u003c/b\\u003e"}': (
        '{"max_cpu_percent":10,"timezone":"<b>&\\"q\\"</b>"}',
        '{"max_cpu_percent":10,"timezone":"\\u003Cb\\u003E\\u0026\\"q\\"\\u003C/b\\u003E"}',
        '{"max_cpu_percent":10,"timezone":"\\u003cb\\u003e\\u0026\\u0022q\\u0022\\u003c\\u002fb\\u003e"}',
    ),
    '{"max_cpu_percent":10,"timezone":"한국 표준시 é ñ 🐣"}': (
        '{"max_cpu_percent":10,"timezone":"\\ud55c\\uad6d \\ud45c\\uc900\\uc2dc \\u00e9 \\u00f1 \\ud83d\\udc23"}',
        '{"max_cpu_percent":10,"timezone":"\\uD55C\\uAD6D \\uD45C\\uC900\\uC2DC é ñ 🐣"}',
    ),
    '{"max_cpu_percent":10,"timezone":"\\u2028line\\u2029sep"}': (
        '{"max_cpu_percent":10,"timezone":"\u2028line\u2029sep"}',
    ),
    '{"max_cpu_percent":10,"timezone":"tab\\there\\nnl\\rcr\\\\bs/sl\\u0001\\u001f\x7f\\b\\f"}': (
        '{"max_cpu_percent":10,"timezone":"tab\\there\\nnl\\rcr\\\\bs\\/sl\\u0001\\u001f\\u007f\\b\\f"}',
        '{"max_cpu_percent":10,"timezone":"tab\\u0009here\\u000anl\\u000dcr\\u005cbs/sl\\u0001\\u001F\x7f\\u0008\\u000c"}',
    ),
    '{"max_cpu_percent":10,"timezone":"🐣 pair"}': ('{"max_cpu_percent":10,"timezone":"\\ud83d\\udc23 pair"}',),
    '{"max_cpu_percent":10,"timezone":"lone \ufffd end"}': ('{"max_cpu_percent":10,"timezone":"lone \\ud83d end"}',),
}
"""By canonical form: spellings that a server must take for the same, and that nobody may sign instead of it."""
