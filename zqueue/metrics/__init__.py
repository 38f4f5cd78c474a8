"""The sidecar: queries brokers once a second and serves their statistics to Prometheus and people.

It is a peer like any other, and nothing depends on it: without it there are no statistics, and all
tasks run on.

`broker_watch` turns a broker's answers into a snapshot. Its parts are pure as well: `untrusted`
validates what a broker sent, `series` computes rates and percentiles, `parts` watches queues, tasks
and workers, `strip` what each worker ran, `pause_watch` garbage collectors, `heatmap` latencies;
`conditions` lists problems. `poller` sends the queries. `exposition` renders a snapshot for
Prometheus (`families`), the files in `page` for people; `glossary` has the words of both. `board`
caches the newest one in each format, `site` serves it as an ASGI application to whoever has the
`token`, and `process` starts all of them.
"""
