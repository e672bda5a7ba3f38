"""The table of arXiv 2605.16865 at the size of a study: which method learns what, and at what cost.

A study is one file: base model, corpora, methods, seeds, steps, benchmarks. Each cell is kept as it is
made, and the same command goes on where it was stopped. It writes into OUT

    paper.md, paper.json       the table, and which of the paper's directions are seen here
    CORPUS/compare/            rows, texts, adapters, the plot of memorisation against retention
    CORPUS/benchmarks/         every mark and answer of each adapter
    CORPUS/analysis/           nats of the targets, Fisher-weighted displacement, the frontier over lam
"""
