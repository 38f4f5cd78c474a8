"""The sidecar: asks brokers how they are once a second, and tells Prometheus and people.

It is a peer like any other and nobody depends on it: when it is gone, nothing but figures is.

`watch` makes a snapshot of what a broker told. What it is made of is pure as well: `told` reads
what a stranger says, `series` has rates and percentiles, `parts` queues, tasks and workers, and
there are `pauses`, `heatmap` and `conditions`. `poller` asks. `exposition` is for Prometheus,
`page.html` for people, `board` has the newest of all, `server` hands it out (`requests` is who may
ask for it), and `command` puts them together.
"""
