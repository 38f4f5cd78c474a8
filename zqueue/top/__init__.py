"""``zqueue top``: brokers, queues, tasks, workers and collectors, in a terminal.

It asks the broker itself (`metrics.poller`) and shows the same snapshot as the page. `wording`,
`columns`, `pieces`, `header`, `controls` and one file for each view are pure: a snapshot in, text
out. `table`, `dialogs`, `screen`, `overview` and `detail` are what `textual` shows of it, `app`
puts them together, and `command` starts it.

Names in a snapshot were chosen by strangers. They are never read as markup: all text is made of
`rich.text.Text`, and `wording.plain` takes out what would move a terminal's cursor.
"""
