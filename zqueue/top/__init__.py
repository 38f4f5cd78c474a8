"""``zqueue top``: brokers, queues, tasks, workers and collectors, in a terminal.

It queries brokers itself (`metrics.poller`) and shows the same snapshot as the page. `formats`,
`columns`, `pieces`, `header`, `controls` and one file for each view are pure: they render a
snapshot as text. `state` is what is shown, and the screens `overview` and `detail`, made of
`screen`, `table` and `dialogs`, show it with `textual`. `viewer` is the app, and `terminal` starts
it.

Names in a snapshot are untrusted. They are never parsed as markup: all text is made of
`rich.text.Text`, and `formats.plain` replaces what would control the terminal.
"""
