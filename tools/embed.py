#!/usr/bin/env python3
"""Writes an assembler file that puts files into the program by .incbin, with a table to find them.

usage: embed.py OUT.S DEPFILE NAME=PATH...
       embed.py OUT.S SYMBOL PATH
The second form is of one file: from SYMBOL to SYMBOL_end. In the first each file becomes a row {name, start, size} of asset_table (see src/assets/assets.c)."""
import os
import sys


def single(out, symbol, path):
    with open(out, "w") as f:
        f.write(f'    .section .rodata\n    .balign 16\n    .globl {symbol}, {symbol}_end\n{symbol}:\n    .incbin "{os.path.abspath(path)}"\n{symbol}_end:\n    .byte 0\n')
        f.write('    .section .note.GNU-stack,"",%progbits\n')


def main():
    if "=" not in sys.argv[-1]:
        single(*sys.argv[1:])
        return
    out, depfile, *pairs = sys.argv[1:]
    files = [p.split("=", 1) for p in pairs]
    with open(out, "w") as f:
        f.write('    .section .rodata\n')
        for i, (name, path) in enumerate(files):
            f.write(f'    .balign 16\nasset_{i}:\n    .incbin "{os.path.abspath(path)}"\nasset_{i}_end:\n    .byte 0\n')
            f.write(f'asset_{i}_name:\n    .asciz "{name}"\n')
        f.write('    .section .data.rel.ro,"aw"\n    .balign 8\n    .globl asset_table\nasset_table:\n')
        for i in range(len(files)):
            f.write(f'    .quad asset_{i}_name, asset_{i}, asset_{i}_end - asset_{i}\n')
        f.write('    .globl asset_count\nasset_count:\n    .quad %d\n' % len(files))
        f.write('    .section .note.GNU-stack,"",%progbits\n')
    with open(depfile, "w") as f:
        f.write(f"{out}: {' '.join(path for _, path in files)}\n")


main()
